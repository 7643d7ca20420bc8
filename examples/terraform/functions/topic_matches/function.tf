output "may_read" {
  value = provider::millwright::topic_matches("plant/+/temperature", "plant/press/temperature")
}
