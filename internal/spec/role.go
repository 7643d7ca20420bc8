package spec

// RoleAdmin is the built-in role: "#" readWrite in both contexts, and "$SYS/#" read. It cannot be changed or deleted.
const RoleAdmin = "admin"

// Role is the desired state of a named set of permissions. A nil list keeps what is there;
// a list that is given is complete.
type Role struct {
	Name        string       `json:"name" yaml:"name"`
	State       State        `json:"state,omitempty" yaml:"state,omitempty"`
	Permissions []Permission `json:"permissions,omitzero" yaml:"permissions,omitempty"`
}

// Check refuses a bad name, state or permission.
func (r Role) Check() error {
	if err := CheckName("role", r.Name); err != nil {
		return err
	}
	if r.State != "" && r.State != Present && r.State != Absent {
		return Errorf(Invalid, "cannot bring role %q to state %q: it is present or absent", r.Name, r.State)
	}
	return checkPermissions("role", r.Name, r.Permissions)
}
