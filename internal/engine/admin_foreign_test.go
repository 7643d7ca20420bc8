package engine

import (
	"errors"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// changesAdmin has somebody change the admin's password in the instance: the real control says so,
// and takes the given one back.
func (g *gateway) changesAdmin(t *testing.T) {
	mine := "a password of my own"
	lets := func(password string) error {
		_, err := g.api.Login(t.Context(), "admin", password)
		return err
	}
	if err := lets(adminSecret); err != nil {
		t.Fatal(err)
	}
	if _, err := g.api.Apply(t.Context(), plan.Request{Users: []spec.User{{Username: "admin", Password: &mine}}, Confirm: "any"}); err != nil {
		t.Fatal(err)
	}
	before := g.identities()
	g.empty(func(i *spec.Instance) { i.AdminPassword = nil })
	until(t, "control says so", func() error {
		if g.plan().Plan.Empty() {
			return errors.New("the plan is empty")
		}
		return nil
	})
	has(t, g.apply(), "~ instance/NAME/secrets: admin-password is not the admin's any more")
	g.kept(before, "control")
	if err := lets(adminSecret); err != nil {
		t.Errorf("the given password: %v", err)
	}
	if err := lets(mine); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("the password of before: %v", err)
	}
}
