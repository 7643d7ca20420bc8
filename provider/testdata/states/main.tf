resource "millwright_role" "operators" {
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}

resource "millwright_user" "line1" {
  username            = "line1"
  password_wo         = "line1-password"
  password_wo_version = "1"
  roles               = [millwright_role.operators.name]
  timeouts            = { update = "2m" }
}

resource "millwright_service" "guarded" {
  id                    = "guarded"
  commissioning         = file("guarded.yml")
  parameters            = { host = "127.0.0.1" }
  parameters_wo         = { password = "machine-password" }
  parameters_wo_version = "1"
  max_disturbance       = "service"
}
