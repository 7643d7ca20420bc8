data "millwright_service" "press" {
  id = "press"
}

# Whoever subscribes to what the press publishes.
resource "millwright_role" "dashboards" {
  name        = "dashboards"
  permissions = [for topic in data.millwright_service.press.topics : { resource = topic, operation = "read", context = "mqtt" }]
}

check "press_runs" {
  assert {
    condition     = data.millwright_service.press.state == "enabled"
    error_message = "The press is ${data.millwright_service.press.state}."
  }
}
