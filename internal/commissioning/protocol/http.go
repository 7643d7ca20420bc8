package protocol

// HTTP is an HTTP API that is polled or called.
var HTTP = Spec{
	Name: "Http", Connection: &HTTPConnection{}, Address: &HTTPAddress{},
	Operations: []string{"subscribe", "read", "write"},
}

// HTTPConnection is one HTTP server.
type HTTPConnection struct {
	Scheme                 string                 `json:"scheme" default:"https" enum:"https,http" doc:"Whether the connection is encrypted."`
	Host                   string                 `json:"host" required:"true" format:"hostname" doc:"The server's name or address."`
	Port                   int                    `json:"port,omitempty" defaultby:"scheme:https=443,http=80" minimum:"1" maximum:"65535" doc:"The server's port."`
	Prefix                 string                 `json:"prefix,omitempty" doc:"Put in front of each path."`
	Headers                map[string]string      `json:"headers,omitempty" sensitive:"keys" scalars:"true" doc:"Sent with each request."`
	Query                  map[string]string      `json:"query,omitempty" sensitive:"keys" scalars:"true" doc:"Query parameters of each request."`
	Auth                   *HTTPAuth              `json:"auth,omitempty" doc:"Basic authentication."`
	OAuthClientCredentials *HTTPClientCredentials `json:"oauthClientCredentials,omitempty" doc:"OAuth 2 client credentials, which fetch a bearer token."`
	ProbeInterval          int64                  `json:"probeInterval" default:"10000" minimum:"1" maximum:"315360000000" unit:"ms" doc:"How often the server's health is asked for."`
	ProbePath              string                 `json:"probePath" default:"/" doc:"Path of the health request."`
	ProbeMethod            string                 `json:"probeMethod" default:"HEAD" enum:"HEAD,GET,OPTIONS,POST" doc:"Method of the health request."`
	CaCert                 string                 `json:"caCert,omitempty" doc:"PEM certificates that vouch for the server."`
	ClientCert             string                 `json:"clientCert,omitempty" doc:"PEM certificate of this client."`
	ClientPrivateKey       string                 `json:"clientPrivateKey,omitempty" sensitive:"true" doc:"PEM private key that belongs to clientCert."`
	MutualAuthentication   bool                   `json:"mutualAuthentication" default:"false" doc:"Whether clientCert must be there."`
	TrustAllCertificates   bool                   `json:"trustAllCertificates" default:"false" doc:"Whether any certificate of the server is accepted."`
}

// HTTPAuth is a name and a password.
type HTTPAuth struct {
	Username string `json:"username" required:"true" doc:"User name."`
	Password string `json:"password" required:"true" sensitive:"true" doc:"The user's password."`
}

// HTTPClientCredentials is the OAuth 2 client credentials grant.
type HTTPClientCredentials struct {
	TokenURL     string `json:"tokenUrl" required:"true" format:"uri" doc:"Where tokens are given out."`
	ClientID     string `json:"clientId" required:"true" doc:"The client's id."`
	ClientSecret string `json:"clientSecret" required:"true" sensitive:"true" doc:"The client's secret."`
	Scope        string `json:"scope,omitempty" doc:"Scopes, separated by spaces."`
	Audience     string `json:"audience,omitempty" doc:"Whom the token is for."`
}

// HTTPAddress is one route of the server.
type HTTPAddress struct {
	Path           string            `json:"path" required:"true" doc:"Path, below the connection's prefix."`
	Method         string            `json:"method" defaultby:"@operation:subscribe=GET,read=GET,write=POST" enum:"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS" doc:"The request's method."`
	Query          map[string]string `json:"query,omitempty" sensitive:"keys" scalars:"true" doc:"Query parameters."`
	Headers        map[string]string `json:"headers,omitempty" sensitive:"keys" scalars:"true" doc:"Sent beside the connection's headers."`
	Body           any               `json:"body,omitempty" doc:"The request's body: text as it is, anything else as JSON."`
	Interval       int64             `json:"interval,omitempty" default:"60000" unless:"cronExpression" minimum:"1" maximum:"315360000000" unit:"ms" ops:"subscribe" doc:"How often the value is polled."`
	CronExpression string            `json:"cronExpression,omitempty" format:"cron" ops:"subscribe" doc:"When the value is polled, instead of an interval."`
}
