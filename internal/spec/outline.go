package spec

// ServiceOutline is what an installed service consists of, or one that is planned will: made by
// the server alone, so that what was planned and what is read later can be compared.
type ServiceOutline struct {
	ID string `json:"id"`
	// Digest names everything that a plan compares but secrets, the owner and whether it is enabled.
	Digest    string            `json:"digest"`
	Resources []ResourceOutline `json:"resources"` // by id
	Topics    []string          `json:"topics"`    // that it publishes, sorted; what a mapping fills in reads "+"
	Links     []Link            `json:"links"`
	Given     []string          `json:"given"` // names of the parameters that are not left to their defaults, sorted
}

// ResourceOutline is one resource of a ServiceOutline.
type ResourceOutline struct {
	ID     string `json:"id"`
	Type   string `json:"type"`            // "Connection", "Endpoint", "Mapping", ...
	Topic  string `json:"topic,omitempty"` // of an endpoint
	Digest string `json:"digest"`          // of its properties, secrets left out
}
