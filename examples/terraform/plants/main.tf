terraform {
  required_version = ">= 1.11"
  required_providers {
    millwright = {
      source  = "millwright/millwright"
      version = "~> 0.1"
    }
  }
}

# TF_VAR_tokens='{"berlin": "mw_...", "aachen": "mw_..."}': in no file, no plan, no state.
variable "tokens" {
  type      = map(string)
  ephemeral = true
}

locals {
  plants = yamldecode(file("${path.module}/plants.yaml"))
}

provider "millwright" {
  contexts = {
    for name, plant in local.plants : name => {
      url   = plant.url
      token = lookup(var.tokens, name, null)
      # `millwright get authority > authorities/NAME.pem`, for certificates of the instance's own.
      ca_cert = try(file("${path.module}/authorities/${name}.pem"), null)
    }
  }
  # A plant that is offline keeps what the state says of it, with a warning; the others go on.
  on_unreachable = "keep"
}

resource "millwright_role" "operators" {
  for_each    = local.plants
  context     = each.key
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}

resource "millwright_user" "line1" {
  for_each = local.plants
  context  = each.key
  username = "line1"
  roles    = [millwright_role.operators[each.key].name]
}

resource "millwright_service" "press" {
  for_each      = local.plants
  context       = each.key
  id            = "press"
  commissioning = file("${path.module}/press.yml")
  parameters    = { host = each.value.press, interval = lookup(each.value, "interval", 1000) }
}

output "topics" {
  value = { for name, press in millwright_service.press : name => press.topics }
}
