# What every plant has; what differs is in staging.tfvars and production.tfvars.
terraform {
  required_version = ">= 1.11"
  required_providers {
    millwright = {
      source  = "millwright/millwright"
      version = "~> 0.1"
    }
  }
  backend "http" {} # GitLab's; the pipeline says where
}

# MILLWRIGHT_URL, MILLWRIGHT_TOKEN and MILLWRIGHT_CA_PATH are variables of the environment.
provider "millwright" {}

variable "press_host" {
  type = string
}

variable "press_interval" {
  type    = number
  default = 1000
}

# Another text has the secrets written again, such as after they were exchanged in GitLab.
variable "secrets_version" {
  type    = string
  default = "1"
}

variable "line1_password" {
  type      = string
  ephemeral = true # in no plan file and no state
}

variable "press_password" {
  type      = string
  ephemeral = true
}

resource "millwright_role" "operators" {
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}

resource "millwright_user" "line1" {
  username            = "line1"
  password_wo         = var.line1_password
  password_wo_version = var.secrets_version
  roles               = [millwright_role.operators.name]
}

resource "millwright_service" "press" {
  id                    = "press"
  commissioning         = file("${path.module}/../services/press.yml")
  parameters            = { host = var.press_host, interval = var.press_interval }
  parameters_wo         = { password = var.press_password }
  parameters_wo_version = var.secrets_version
}
