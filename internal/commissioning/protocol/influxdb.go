package protocol

// Influxdb is the InfluxDB 2 write API.
var Influxdb = Spec{
	Name: "Influxdb", Connection: &InfluxdbConnection{}, Address: &InfluxdbAddress{},
	Operations: []string{"write"},
}

// InfluxdbConnection is one bucket of a server.
type InfluxdbConnection struct {
	Scheme               string `json:"scheme" default:"http" enum:"http,https" doc:"Whether the connection is encrypted."`
	Host                 string `json:"host" required:"true" format:"hostname" doc:"The server's name or address."`
	Port                 int    `json:"port" default:"8086" minimum:"1" maximum:"65535" doc:"The server's port."`
	Bucket               string `json:"bucket,omitempty" doc:"The bucket that is written to."`
	Org                  string `json:"org,omitempty" doc:"The bucket's organisation."`
	Token                string `json:"token,omitempty" sensitive:"true" doc:"API token."`
	CaCert               string `json:"caCert,omitempty" doc:"PEM certificates that vouch for the server."`
	TrustAllCertificates bool   `json:"trustAllCertificates" default:"false" doc:"Whether any certificate of the server is accepted."`
}

// InfluxdbAddress is a measurement; the keys of the value object are its fields.
type InfluxdbAddress struct {
	Measurement string            `json:"measurement" required:"true" doc:"The measurement."`
	Tags        map[string]string `json:"tags,omitempty" scalars:"true" doc:"Tags of each point."`
}
