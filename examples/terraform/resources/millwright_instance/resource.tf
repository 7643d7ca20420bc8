variable "admin_password" {
  type      = string
  ephemeral = true # stands in no plan file
}

resource "millwright_instance" "plant" {
  name                      = "plant"
  install_path              = "/opt/millwright/plant"
  admin_password_wo         = var.admin_password
  admin_password_wo_version = "1" # another text has the password written again
  agents                    = ["line2"]
  limits                    = { broker = { memory = "512m" }, mapper = { cpus = 1.5 } }
  timezone                  = "Europe/Berlin"
}

# What is declared on it comes in the same apply: its context is how it is reached.
resource "millwright_role" "operators" {
  context     = millwright_instance.plant.context
  name        = "operators"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}
