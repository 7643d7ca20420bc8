terraform {
  required_version = ">= 1.11"
  required_providers {
    millwright = {
      source  = "millwright/millwright"
      version = "~> 0.1"
    }
  }
}

variable "image_archive" {
  type        = string
  default     = null
  description = "The image as a file, where the engine neither has it nor can fetch it: what `make image` leaves in dist/."
}

variable "ports" {
  type        = object({ https = optional(string), http = optional(string), mqtts = optional(string) })
  default     = null
  description = "Where the instance listens; 443, 80 and 8883 if not given. Such as { https = \"8443\", http = \"\" }: \"\" is closed."
}

provider "millwright" {}

# An instance on this machine's Docker engine. What follows is applied to it as soon as it runs.
resource "millwright_instance" "plant" {
  name          = "quickstart"
  install_path  = abspath("${path.root}/instance")
  image_archive = var.image_archive
  ports         = var.ports
}

resource "millwright_role" "operators" {
  context     = millwright_instance.plant.context
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}

resource "millwright_user" "line1" {
  context  = millwright_instance.plant.context
  username = "line1"
  roles    = [millwright_role.operators.name]
}

resource "millwright_service" "press" {
  context       = millwright_instance.plant.context
  id            = "press"
  commissioning = file("${path.module}/service.yml")
}

output "url" {
  value = millwright_instance.plant.url
}
