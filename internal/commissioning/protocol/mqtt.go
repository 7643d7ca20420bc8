package protocol

// Mqtt is a session with an MQTT broker, this instance's own or another.
var Mqtt = Spec{
	Name: "Mqtt", Connection: &MqttConnection{}, Address: &MqttAddress{},
	Operations: []string{"subscribe", "write"},
}

// MqttConnection is one session with a broker.
type MqttConnection struct {
	Host                 string `json:"host,omitempty" xor:"target" format:"hostname" doc:"The broker's name or address."`
	URL                  string `json:"url,omitempty" xor:"target" format:"uri" doc:"The broker's URL, instead of host, port and scheme."`
	Port                 int    `json:"port,omitempty" defaultby:"scheme:mqtt=1883,tcp=1883,mqtts=8883,tls=8883,ws=80,wss=443" unless:"url" minimum:"1" maximum:"65535" doc:"The broker's port."`
	Scheme               string `json:"scheme,omitempty" default:"mqtt" unless:"url" enum:"mqtt,mqtts,tcp,tls,ws,wss" doc:"How packets travel."`
	Username             string `json:"username,omitempty" doc:"User name."`
	Password             string `json:"password,omitempty" sensitive:"true" doc:"The user's password."`
	ClientID             string `json:"clientId,omitempty" doc:"The session's name; by default one that is made from the service and the resource."`
	Clean                bool   `json:"clean" default:"true" doc:"Whether the broker forgets the session when it ends."`
	Keepalive            int    `json:"keepalive" default:"60" minimum:"0" maximum:"65535" unit:"s" doc:"Longest silence before a ping."`
	ProtocolVersion      int    `json:"protocolVersion" default:"5" enum:"4,5" doc:"4 is MQTT 3.1.1."`
	CaCert               string `json:"caCert,omitempty" doc:"PEM certificates that vouch for the broker."`
	ClientCert           string `json:"clientCert,omitempty" doc:"PEM certificate of this client."`
	ClientPrivateKey     string `json:"clientPrivateKey,omitempty" sensitive:"true" doc:"PEM private key that belongs to clientCert."`
	MutualAuthentication bool   `json:"mutualAuthentication" default:"false" doc:"Whether clientCert must be there."`
	TrustAllCertificates bool   `json:"trustAllCertificates" default:"false" doc:"Whether any certificate of the broker is accepted."`
}

// MqttAddress is a topic on that broker. Payloads pass unchanged.
type MqttAddress struct {
	Topic  string `json:"topic" required:"true" format:"filter" doc:"The topic; a subscription may hold wildcards."`
	QoS    int    `json:"qos" default:"0" enum:"0,1,2" doc:"Quality of service on that broker."`
	Retain bool   `json:"retain" default:"false" ops:"write" doc:"Whether that broker keeps the last message."`
}
