data "millwright_services" "presses" {
  filter = "press"
}

output "deviated" {
  value = [for s in data.millwright_services.presses.services : s.id if s.state == "deviated"]
}
