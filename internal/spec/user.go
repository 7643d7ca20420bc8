package spec

// State of an object that is asked for. Which are allowed depends on the kind.
type State string

// Present and absent hold for users and roles; services have the others too.
const (
	Present   State = "present"
	Absent    State = "absent"
	Enabled   State = "enabled"
	Disabled  State = "disabled"
	Restarted State = "restarted"
)

// UpdatePassword says when a given password is enforced.
type UpdatePassword string

// The choices of UpdatePassword; empty means UpdateAlways.
const (
	UpdateAlways   UpdatePassword = "always"
	UpdateOnCreate UpdatePassword = "on_create"
)

// User is the desired state of a person's or program's account. What is nil keeps what is
// there; a list that is given is complete.
type User struct {
	Username string  `json:"username" yaml:"username"`
	State    State   `json:"state,omitempty" yaml:"state,omitempty"`
	Password *string `json:"password,omitempty" yaml:"password,omitempty"` // never read back
	// PasswordLabel names the version of the password, see Service.SecretLabel. A label alone, without its
	// password, is compared but cannot be applied.
	PasswordLabel  string         `json:"password_label,omitempty" yaml:"password_label,omitempty"`
	UpdatePassword UpdatePassword `json:"update_password,omitempty" yaml:"update_password,omitempty"`
	Roles          []string       `json:"roles,omitzero" yaml:"roles,omitempty"`
	Permissions    []Permission   `json:"permissions,omitzero" yaml:"permissions,omitempty"`
	Grants         []Grant        `json:"grants,omitzero" yaml:"grants,omitempty"`
}

// Grant is a way in which a user may log in.
type Grant string

// The grants. A new user gets both.
const (
	GrantPassword Grant = "password"
	GrantToken    Grant = "token"
)

// MinPasswordLength counts characters.
const MinPasswordLength = 5

// Check refuses a bad name, state, password, grant or permission.
func (u User) Check() error {
	if err := CheckName("user", u.Username); err != nil {
		return err
	}
	switch u.State {
	case "", Present, Absent:
	default:
		return Errorf(Invalid, "cannot bring user %q to state %q: it is present or absent", u.Username, u.State)
	}
	switch u.UpdatePassword {
	case "", UpdateAlways, UpdateOnCreate:
	default:
		return Errorf(Invalid, "cannot update the password of user %q %q: it is always or on_create", u.Username, u.UpdatePassword)
	}
	if u.Password != nil && len([]rune(*u.Password)) < MinPasswordLength {
		return Errorf(Invalid, "cannot set the password of user %q: it has fewer than %d characters", u.Username, MinPasswordLength)
	}
	if err := CheckLabel("password_label", u.PasswordLabel); err != nil {
		return Errorf(Invalid, "user %q: %w", u.Username, err)
	}
	for _, g := range u.Grants {
		if g != GrantPassword && g != GrantToken {
			return Errorf(Invalid, "cannot give user %q the grant %q: it is password or token", u.Username, g)
		}
	}
	return checkPermissions("user", u.Username, u.Permissions)
}

func checkPermissions(kind, name string, permissions []Permission) error {
	for _, p := range permissions {
		if err := p.Check(); err != nil {
			return Errorf(Invalid, "%s %q: %w", kind, name, err)
		}
	}
	return nil
}
