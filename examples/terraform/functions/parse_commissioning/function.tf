locals {
  press = provider::millwright::parse_commissioning(file("${path.module}/press.yml"))
}

output "endpoints" {
  value = [for id, r in local.press.resources : id if r.type == "Cybus::Endpoint"]
}
