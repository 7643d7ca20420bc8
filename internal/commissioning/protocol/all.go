package protocol

// All lists the protocols that files may name.
var All = []Spec{Opcua, Modbus, Mqtt, HTTP, S7, Influxdb}

// Later lists protocols that existing files name and no build has yet. Their files
// validate, but for the protocols' own properties.
var Later = []string{
	"Ads", "Bacnet", "EthernetIp", "Focas", "Heidenhain", "Kafka", "Mssql", "Openprotocol",
	"Shdr", "Sinumerik", "Sopas", "Sparkplug", "Sql", "Systemstate",
}
