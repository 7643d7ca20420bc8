package commissioning

// Role is a named set of permissions of the service. The id defaultRole extends the
// service's own identity.
type Role struct {
	Permissions []Permission `json:"permissions" required:"true" doc:"What the role allows."`
}

// Permission allows one operation on a topic filter or a route.
type Permission struct {
	Resource  string `json:"resource" required:"true" format:"filter" doc:"A topic filter, or a route; wildcards are MQTT's in both."`
	Operation string `json:"operation" required:"true" enum:"read,write,readWrite" doc:"What is allowed."`
	Context   string `json:"context" required:"true" enum:"mqtt,http" doc:"Where it is allowed."`
}

// User is an account of the service; its name is the resource's id.
type User struct {
	Password    string       `json:"password" required:"true" sensitive:"true" minLength:"5" doc:"Five characters or more."`
	Roles       []string     `json:"roles,omitempty" doc:"Roles of this service (by !ref) or of the instance (by name)."`
	Permissions []Permission `json:"permissions,omitempty" doc:"What the user may do beside its roles."`
}
