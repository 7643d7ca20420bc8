package spec

import "strings"

// Operation is what a permission allows.
type Operation string

// The operations.
const (
	Read      Operation = "read"
	Write     Operation = "write"
	ReadWrite Operation = "readWrite"
)

// Context is where a permission holds.
type Context string

// The contexts: topics of the broker, routes of the API.
const (
	MQTT Context = "mqtt"
	HTTP Context = "http"
)

// Permission allows one operation on a topic filter (MQTT) or a route (HTTP). Wildcards
// are MQTT's in both; an HTTP resource's leading slash may be left out.
type Permission struct {
	Resource  string    `json:"resource" yaml:"resource"`
	Operation Operation `json:"operation" yaml:"operation"`
	Context   Context   `json:"context" yaml:"context"`
}

// Check refuses an unknown operation or context, and a resource that is no filter.
func (p Permission) Check() error {
	if p.Operation != Read && p.Operation != Write && p.Operation != ReadWrite {
		return Errorf(Invalid, "cannot grant operation %q on %q: it is read, write or readWrite", p.Operation, p.Resource)
	}
	if p.Context != MQTT && p.Context != HTTP {
		return Errorf(Invalid, "cannot grant %q in context %q: it is mqtt or http", p.Resource, p.Context)
	}
	return CheckFilter(p.Resource)
}

// Covers reports whether p allows op on every topic or route that resource, itself perhaps a filter, matches.
func (p Permission) Covers(context Context, op Operation, resource string) bool {
	if p.Context != context || p.Operation != op && p.Operation != ReadWrite {
		return false
	}
	if context == HTTP {
		return FilterCovers(strings.TrimPrefix(p.Resource, "/"), strings.TrimPrefix(resource, "/"))
	}
	return FilterCovers(p.Resource, resource)
}

// Allows reports whether any of the permissions covers op on resource. ReadWrite asks for
// both; two permissions may grant them together.
func Allows(permissions []Permission, context Context, op Operation, resource string) bool {
	if op == ReadWrite {
		return Allows(permissions, context, Read, resource) && Allows(permissions, context, Write, resource)
	}
	for _, p := range permissions {
		if p.Covers(context, op, resource) {
			return true
		}
	}
	return false
}
