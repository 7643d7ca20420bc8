output "file" {
  value = provider::millwright::commissioning({
    description = "A press"
    metadata    = { name = "Press", version = "1.0.0" }
    resources = {
      plc  = { type = "Cybus::Connection", properties = { protocol = "Opcua", connection = { host = "10.0.1.7", port = 4840 } } }
      temp = { type = "Cybus::Endpoint", properties = { protocol = "Opcua", connection = { "$ref" = "plc" }, subscribe = { nodeId = "ns=2;s=Temp" } } }
    }
  })
}
