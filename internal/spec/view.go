package spec

import "time"

// Views are what the API returns when objects are read; secrets are never in them. Lists
// come as Page.

// Page is one part of a list. Cursor is empty on the last one.
type Page[T any] struct {
	Items  []T    `json:"items"`
	Cursor string `json:"cursor,omitempty"`
}

// ServiceView is an installed service as it is.
type ServiceView struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Version     string         `json:"version,omitempty"`
	Description string         `json:"description,omitempty"`
	State       string         `json:"state"`   // disabled, enabling, enabled, disabling, deviated
	Enabled     bool           `json:"enabled"` // what is asked for
	Owner       string         `json:"owner"`
	Revision    int64          `json:"revision"` // of its last change
	UpdatedAt   time.Time      `json:"updated_at"`
	Parameters  map[string]any `json:"parameters,omitempty"` // sensitive ones read "(sensitive)"
	// SecretParameters are the names of those that were given as such, SecretLabel their label.
	SecretParameters []string     `json:"secret_parameters,omitempty"`
	SecretLabel      string       `json:"secret_label,omitempty"`
	Commissioning    string       `json:"commissioning,omitempty"`
	Resources        int          `json:"resources"`
	Deviations       []Deviation  `json:"deviations,omitempty"`
	Grants           []Permission `json:"grants,omitempty"` // what its own identity may do
	Links            []Link       `json:"links,omitempty"`
}

// Deviation says which resource is not where it should be, and why.
type Deviation struct {
	Address string    `json:"address"` // "service/press/connection/plc"
	State   string    `json:"state"`
	Error   string    `json:"error,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Link is shown on a service's page.
type Link struct {
	Name string `json:"name"`
	Href string `json:"href"`
}

// UserView is an account as it is.
type UserView struct {
	Username      string       `json:"username"`
	Owner         string       `json:"owner"`
	PasswordLabel string       `json:"password_label,omitempty"` // of the password, if whoever wrote it last gave one
	Roles         []string     `json:"roles"`
	Permissions   []Permission `json:"permissions"`
	Grants        []Grant      `json:"grants"`
	Revision      int64        `json:"revision"`
}

// RoleView is a role as it is.
type RoleView struct {
	Name        string       `json:"name"`
	Owner       string       `json:"owner"`
	Permissions []Permission `json:"permissions"`
	Revision    int64        `json:"revision"`
}

// AgentView is a mapper as the control part last heard of it.
type AgentView struct {
	Name     string    `json:"name"`
	Online   bool      `json:"online"` // false after 45 s of silence
	SeenAt   time.Time `json:"seen_at,omitzero"`
	Revision int64     `json:"revision"` // desired state that it has taken over
	// Bus is what waits for the broker, and was lost; nil: they are in one process.
	Bus *BusFigures `json:"bus,omitempty"`
}

// TokenView is an API token, without its secret.
type TokenView struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Username    string       `json:"username"`
	Permissions []Permission `json:"permissions,omitempty"` // empty: all of the owner's
	CreatedAt   time.Time    `json:"created_at"`
	ExpiresAt   time.Time    `json:"expires_at,omitzero"`
	UsedAt      time.Time    `json:"used_at,omitzero"`
}

// TokenRequest asks for a named token.
type TokenRequest struct {
	Name        string       `json:"name"`
	Permissions []Permission `json:"permissions,omitempty"` // a subset of the caller's; empty: all of them
	TTL         string       `json:"ttl,omitempty"`         // a Go duration; empty: 90 days
}

// TokenSecret is a new token; the secret is shown this once.
type TokenSecret struct {
	TokenView
	Token string `json:"token"`
}

// LoginRequest is the body of POST /api/v1/login.
type LoginRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// LoginReply carries an opaque token, by default valid for 12 h.
type LoginReply struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// MessageView is one message of GET /api/v1/messages. Payload holds text; what is not
// UTF-8 is base64 and PayloadBase64 is true.
type MessageView struct {
	Time          time.Time `json:"time"`
	Topic         string    `json:"topic"`
	Payload       string    `json:"payload"`
	PayloadBase64 bool      `json:"payload_base64,omitempty"`
	QoS           byte      `json:"qos"`
	Retain        bool      `json:"retain"`
}

// Problem is the body of every failed request (RFC 9457, application/problem+json).
type Problem struct {
	Type        string       `json:"type,omitempty"`
	Title       string       `json:"title"`
	Status      int          `json:"status"`
	Detail      string       `json:"detail"`
	Kind        Kind         `json:"kind"`
	Hint        string       `json:"hint,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
}

// CertificateView is the instance's OPC UA client certificate: what a machine must trust.
type CertificateView struct {
	PEM            string    `json:"pem"`
	Fingerprint    string    `json:"fingerprint"` // "SHA256:" and hex, of the DER form
	ApplicationURI string    `json:"application_uri"`
	NotAfter       time.Time `json:"not_after"`
}

// AuthorityView is the certificate of the instance's own authority: what a client must trust.
type AuthorityView struct {
	PEM         string    `json:"pem"`
	Fingerprint string    `json:"fingerprint"` // "SHA256:" and hex, of the DER form
	NotAfter    time.Time `json:"not_after"`
}
