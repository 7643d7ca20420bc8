variable "press_password" {
  type      = string
  ephemeral = true # stands in no plan file
}

resource "millwright_service" "press" {
  id            = "press"
  commissioning = file("${path.module}/press.yml")
  parameters = {
    host     = "10.0.1.7"
    interval = 500
  }
  # What the file declares as a secret. Another version has it written again.
  parameters_wo         = { password = var.press_password }
  parameters_wo_version = "1"

  max_disturbance = "connection" # a plan that would disturb more fails
}

output "press_topics" {
  value = millwright_service.press.topics
}
