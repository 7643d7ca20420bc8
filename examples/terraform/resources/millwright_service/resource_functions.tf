# A file that is made in Terraform, one endpoint for each tag of a table.
locals {
  tags = { temperature = "ns=2;s=Oven.Temperature", door = "ns=2;s=Oven.Door" }
}

resource "millwright_service" "oven" {
  id = "oven"
  commissioning = provider::millwright::commissioning({
    description = "An oven"
    metadata    = { name = "Oven", version = "1.0.0" }
    resources = merge(
      { plc = { type = "Cybus::Connection", properties = { protocol = "Opcua", connection = { host = "10.0.1.8", port = 4840 } } } },
      { for tag, node in local.tags : tag => {
        type = "Cybus::Endpoint"
        properties = {
          protocol   = "Opcua"
          connection = { "$ref" = "plc" }
          topic      = tag
          subscribe  = { nodeId = node, interval = 1000 }
        }
      } },
    )
  })
}
