package spec

import (
	"encoding/json"
	"strings"
)

// Resource is one resource of a service as a part of the runtime gets it: canonical and
// fully resolved, no reference or parameter left. Equal bytes mean an equal resource.
type Resource struct {
	Service    string          `json:"service"`
	ID         string          `json:"id"`
	Type       string          `json:"type"`       // "Connection", "Endpoint", "Mapping", ...
	Properties json.RawMessage `json:"properties"` // one of package commissioning's structs; may hold secrets
	// Generation is raised by a restart of the service: a resource of another generation is
	// another resource, and is stopped and started.
	Generation int64 `json:"generation,omitempty"`
}

// Key names the resource within the instance: "press::temp".
func (r Resource) Key() string { return ResourceKey(r.Service, r.ID) }

// Address names the resource in plans, logs and errors: "service/press/endpoint/temp".
func (r Resource) Address() string { return ResourceAddress(r.Service, r.Type, r.ID) }

// ResourceKey joins a service's and a resource's id.
func ResourceKey(service, id string) string { return service + "::" + id }

// ResourceAddress renders "service/press/endpoint/temp".
func ResourceAddress(service, typ, id string) string {
	return "service/" + service + "/" + strings.ToLower(typ) + "/" + id
}

// Identity is one account as the broker gets it: who may log in over MQTT, and what with.
type Identity struct {
	Name        string       `json:"name"`
	Credentials []string     `json:"credentials"` // hashes, in the form of package credential; any of them lets in
	Permissions []Permission `json:"permissions"` // roles resolved, MQTT only
	// Home is a filter: the retained messages that match it go with the identity, and where
	// another one of its name comes. Which it is, Born tells. "": it has none.
	Home string `json:"home,omitempty"`
	Born string `json:"born,omitempty"`
}
