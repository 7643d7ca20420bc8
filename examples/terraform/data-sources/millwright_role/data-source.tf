data "millwright_role" "operators" {
  name = "operators"
}

# The same, and one topic more.
resource "millwright_role" "foremen" {
  name = "foremen"
  permissions = concat(tolist(data.millwright_role.operators.permissions), [
    { resource = "plant/+/set", operation = "write", context = "mqtt" },
  ])
}
