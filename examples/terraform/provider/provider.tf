terraform {
  required_version = ">= 1.11"
  required_providers {
    millwright = {
      source  = "millwright/millwright"
      version = "~> 0.1"
    }
  }
}

variable "token" {
  type        = string
  ephemeral   = true # stands in no plan file
  description = "Token of who applies: `millwright token create terraform`."
}

provider "millwright" {
  url     = "https://gateway.example"
  token   = var.token
  ca_cert = file("${path.module}/authority.pem") # `millwright get authority`
}
