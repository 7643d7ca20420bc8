# An instance that somebody else deploys.
data "millwright_instance" "plant" {
  name        = "plant"
  docker_host = "ssh://deploy@hall2.example"
}

resource "millwright_role" "operators" {
  context     = data.millwright_instance.plant.context
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}

check "as_declared" {
  assert {
    condition     = data.millwright_instance.plant.running && length(data.millwright_instance.plant.drift) == 0
    error_message = join("\n", data.millwright_instance.plant.drift)
  }
}
