# A token that may do less than who applies, for as long as this run lasts.
ephemeral "millwright_token" "roles" {
  name = "terraform-roles"
  ttl  = "10m"
  permissions = [
    { resource = "api/v1/roles/#", operation = "readWrite", context = "http" },
    { resource = "plant/#", operation = "read", context = "mqtt" }, # nobody can grant more than they have
  ]
}

provider "millwright" {
  alias = "roles"
  token = ephemeral.millwright_token.roles.token
}

resource "millwright_role" "guests" {
  provider    = millwright.roles
  name        = "guests"
  permissions = [{ resource = "plant/#", operation = "read", context = "mqtt" }]
}
