package protocol

// Opcua is OPC UA over opc.tcp.
var Opcua = Spec{
	Name: "Opcua", Connection: &OpcuaConnection{}, Address: &OpcuaAddress{},
	Operations: []string{"subscribe", "read", "write"},
}

// OpcuaConnection is one session with an OPC UA server.
type OpcuaConnection struct {
	Host                 string `json:"host" required:"true" format:"hostname" doc:"The server's name or address."`
	Port                 int    `json:"port" default:"4840" minimum:"1" maximum:"65535" doc:"The server's TCP port."`
	ResourcePath         string `json:"resourcePath,omitempty" doc:"Path of the server's URL."`
	Username             string `json:"username,omitempty" doc:"User name; without one the session is anonymous."`
	Password             string `json:"password,omitempty" sensitive:"true" doc:"The user's password."`
	SecurityMode         string `json:"securityMode" default:"None" enum:"None,Sign,SignAndEncrypt" alias:"options.messageSecurityMode,options.securityMode" doc:"How messages are protected."`
	SecurityPolicy       string `json:"securityPolicy" default:"None" enum:"None,Basic256Sha256,Aes128_Sha256_RsaOaep,Aes256_Sha256_RsaPss" alias:"options.securityPolicy" doc:"The algorithms that protect messages."`
	ClientCert           string `json:"clientCert,omitempty" doc:"PEM certificate of this client, instead of the data directory's own."`
	ClientPrivateKey     string `json:"clientPrivateKey,omitempty" sensitive:"true" doc:"PEM private key that belongs to clientCert."`
	TrustAllCertificates bool   `json:"trustAllCertificates" default:"false" doc:"Whether any server certificate is accepted."`
	CaCert               string `json:"caCert,omitempty" doc:"PEM certificates that the server's certificate must be, or be signed by."`
	SessionTimeout       int64  `json:"requestedSessionTimeout" default:"60000" minimum:"1000" maximum:"2592000000" unit:"ms" alias:"options.requestedSessionTimeout" doc:"How long the server keeps a silent session."`
	TokenLifetime        int64  `json:"defaultSecureTokenLifetime" default:"600000" minimum:"10000" maximum:"2592000000" unit:"ms" alias:"options.defaultSecureTokenLifetime" doc:"How long a secure channel's keys are used."`
}

// OpcuaAddress is one node: a variable, a method, or the source of events.
type OpcuaAddress struct {
	NodeID           string   `json:"nodeId,omitempty" xor:"node" doc:"The node, as in ns=2;s=Press.Temperature."`
	BrowsePath       string   `json:"browsePath,omitempty" xor:"node" doc:"Path of browse names from the root: /Objects/2:Press/2:Temperature."`
	BrowsePathPrefix string   `json:"browsePathPrefix,omitempty" doc:"Put in front of browsePath."`
	SamplingInterval int64    `json:"samplingInterval" default:"500" minimum:"0" maximum:"86400000" unit:"ms" ops:"subscribe" unless:"interval,cronExpression,eventTypes,fields" doc:"How often the server samples the value."`
	PublishInterval  int64    `json:"publishInterval" default:"1000" minimum:"1" maximum:"86400000" unit:"ms" ops:"subscribe" unless:"interval,cronExpression" doc:"How often the server sends what it sampled."`
	QueueSize        int64    `json:"queueSize" default:"10" minimum:"1" maximum:"1000000" ops:"subscribe" unless:"interval,cronExpression,eventTypes,fields" doc:"Samples that the server keeps between two publications; past it the oldest goes. Of events: 1000."`
	AttributeID      int      `json:"attributeId" default:"13" minimum:"1" maximum:"27" unless:"eventTypes,fields" doc:"The node's attribute; 13 is its value."`
	Deadband         float64  `json:"deadband" default:"0" minimum:"0" ops:"subscribe" unless:"interval,cronExpression,eventTypes,fields" doc:"A change must be greater than this to be sent."`
	EventTypes       []string `json:"eventTypes,omitempty" ops:"subscribe" doc:"Take the node's events instead of a value, those of these types: node ids, or names of the standard's such as AlarmConditionType."`
	Fields           []string `json:"fields,omitempty" ops:"subscribe" doc:"The event fields that are published, as in Severity, 2:Batch or ActiveState/Id. Without it: EventId, EventType, SourceNode, SourceName, Time, ReceiveTime, Message, Severity."`
	NodeType         string   `json:"nodeType" default:"Variable" enum:"Variable,Method" doc:"Method: a write calls it, with the value as its arguments."`
	Interval         int64    `json:"interval,omitempty" minimum:"1" maximum:"315360000000" unit:"ms" ops:"subscribe" doc:"Read by polling at this interval instead of a subscription."`
	CronExpression   string   `json:"cronExpression,omitempty" format:"cron" ops:"subscribe" doc:"Read by polling at these times instead of a subscription."`
}
