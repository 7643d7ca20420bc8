resource "millwright_role" "operators" {
  name = "operators"
  permissions = [
    { resource = "plant/#", operation = "read", context = "mqtt" },
    { resource = "plant/+/set", operation = "write", context = "mqtt" },
    { resource = "api/v1/services/#", operation = "read", context = "http" },
  ]
}
