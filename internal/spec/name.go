package spec

import "regexp"

var (
	identityName = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)
	serviceID    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.]*$`)
)

// CheckName refuses what may not name a user or a role that a person makes: 1 to 64 of
// [A-Za-z0-9_.@-]. A colon is reserved for generated names (see ServiceIdentity), and no path of
// the API leads to "." or "..".
func CheckName(kind, name string) error {
	if !identityName.MatchString(name) {
		return Errorf(Invalid, "cannot name a %s %q: use 1 to 64 of letters, digits, \"_\", \".\", \"@\", \"-\"", kind, name)
	}
	if name == "." || name == ".." {
		return Errorf(Invalid, "cannot name a %s %q: it would be a part of a path that leads elsewhere", kind, name)
	}
	return nil
}

// CheckServiceID refuses what does not match [a-zA-Z0-9][a-zA-Z0-9_.]*.
func CheckServiceID(id string) error {
	if !serviceID.MatchString(id) || len(id) > 128 {
		return Errorf(Invalid, "cannot use service id %q: begin with a letter or digit, then letters, digits, \"_\", \".\"; 128 at most", id)
	}
	return nil
}

// ServiceIdentity names the identity that the runtime makes for a service alone.
func ServiceIdentity(service string) string { return "service:" + service }

// MqttRoot is the topic below which a service's endpoints publish.
func MqttRoot(service string) string { return "services/" + service }
