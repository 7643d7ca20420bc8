# On another host's engine, with a certificate of one's own.
variable "private_key" {
  type      = string
  ephemeral = true
}

resource "millwright_instance" "hall2" {
  name           = "hall2"
  docker_host    = "ssh://deploy@hall2.example"
  hostname       = "gateway.hall2.example"
  certificate    = file("${path.module}/hall2.pem")
  private_key_wo = var.private_key
  ports          = { https = "8443", http = "", mqtts = "8883" }

  max_disturbance           = "container" # a plan that would disturb more fails
  delete_volumes_on_destroy = false       # what it holds outlives a destroy
  timeouts                  = { create = "10m", update = "10m" }
}
