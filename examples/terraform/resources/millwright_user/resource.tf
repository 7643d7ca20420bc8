variable "line1_password" {
  type      = string
  ephemeral = true # stands in no plan file
}

resource "millwright_role" "operators" {
  name = "operators"
  permissions = [
    { resource = "plant/#", operation = "read", context = "mqtt" },
  ]
}

resource "millwright_user" "line1" {
  username            = "line1"
  password_wo         = var.line1_password
  password_wo_version = "1" # another text has the password written again
  roles               = [millwright_role.operators.name]
  grants              = ["password", "token"]
  permissions = [
    { resource = "plant/line1/set/#", operation = "write", context = "mqtt" },
  ]
}
