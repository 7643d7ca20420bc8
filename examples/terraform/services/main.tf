# A role, a user and a service on an instance that runs already: `millwright up`, or one that
# `millwright login` knows. Nothing here says how to log in: the context file does.

terraform {
  required_version = ">= 1.11"
  required_providers {
    millwright = { source = "millwright/millwright" }
  }
}

provider "millwright" {}

variable "line1_password" {
  description = "Password of the user line1."
  type        = string
  ephemeral   = true
}

resource "millwright_role" "operators" {
  name = "operators"
  permissions = [
    { resource = "services/press/#", operation = "read", context = "mqtt" },
  ]
  lifecycle {
    create_before_destroy = true # users are given the new role before the old one goes
  }
}

resource "millwright_user" "line1" {
  username            = "line1"
  password_wo         = var.line1_password
  password_wo_version = "1" # another one has the password written
  roles               = [millwright_role.operators.name]
}

resource "millwright_service" "press" {
  id            = "press"
  commissioning = file("${path.module}/service.yml")
  parameters    = { interval = 500 }
}

output "topics" {
  value = millwright_service.press.topics
}
