package commissioning

// ServerHTTP is a tree of routes below https://<host>/data/.
type ServerHTTP struct {
	BasePath           string `json:"basePath" default:"" doc:"Put in front of each route."`
	RequestMaxBodySize int64  `json:"requestMaxBodySize" default:"100000" minimum:"1" unit:"bytes" doc:"Largest body that is taken."`
}

// NodeHTTP is one route of a Server::Http.
type NodeHTTP struct {
	Parent string `json:"parent" required:"true" ref:"Server::Http" doc:"The Server::Http."`
	Method string `json:"method" required:"true" enum:"POST,PUT,GET" doc:"POST and PUT publish the body, GET returns the last value."`
	Route  string `json:"route" required:"true" doc:"Path below the server's."`
	Rules  []Rule `json:"rules,omitempty" doc:"Rule chain that each message passes."`
}

// ServerOpcua is an OPC UA server that this instance offers.
type ServerOpcua struct {
	Port             int      `json:"port" default:"4841" minimum:"1" maximum:"65535" doc:"TCP port."`
	ResourcePath     string   `json:"resourcePath,omitempty" doc:"Path of the server's URL."`
	Hostname         string   `json:"hostname,omitempty" doc:"Name that the server tells its clients."`
	AllowAnonymous   bool     `json:"allowAnonymous" default:"false" doc:"Whether clients need no user name."`
	SecurityPolicies []string `json:"securityPolicies,omitempty" enum:"None,Basic256Sha256,Aes128_Sha256_RsaOaep,Aes256_Sha256_RsaPss" doc:"The algorithms that are offered."`
	SecurityModes    []string `json:"securityModes,omitempty" enum:"None,Sign,SignAndEncrypt" doc:"The protections that are offered."`
	ApplicationURI   string   `json:"applicationUri,omitempty" doc:"The server's application URI."`
}

// NodeOpcua is one node of a Server::Opcua.
type NodeOpcua struct {
	Parent       string `json:"parent" required:"true" ref:"Server::Opcua,Node::Opcua" doc:"The server, or the node above."`
	NodeType     string `json:"nodeType" required:"true" enum:"Object,Variable,Method" doc:"The node's class."`
	NodeID       string `json:"nodeId,omitempty" doc:"The node's id."`
	BrowseName   string `json:"browseName,omitempty" doc:"The node's browse name."`
	DataType     string `json:"dataType,omitempty" doc:"A variable's data type."`
	Operation    string `json:"operation,omitempty" enum:"serverProvides,serverReceives,serverProvidesAndReceives" doc:"Which way values go."`
	InitialValue any    `json:"initialValue,omitempty" doc:"A variable's value before any other."`
	Rules        []Rule `json:"rules,omitempty" doc:"Rule chain that each message passes."`
}
