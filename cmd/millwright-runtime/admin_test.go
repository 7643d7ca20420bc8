package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// TestEndToEndAdminPassword: whoever deploys sets the admin's password without the old one, by a start
// of control alone; a password that a person changed meanwhile stays until that is asked for again.
func TestEndToEndAdminPassword(t *testing.T) {
	given := filepath.Join(t.TempDir(), "admin-password")
	give := func(password, label string) {
		t.Helper()
		for name, text := range map[string]string{given: password, given + ".label": label} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	give("first password", "1")
	p := newPlant(t, "--admin-password-file", given)
	p.install()
	token := p.read("admin-token")
	// has waits until the instance takes the one password, not the other, at the API and the broker.
	has := func(password, refused, applied string) {
		t.Helper()
		until(t, "the admin has "+password, func() error { return tryLogin(p, password) })
		if err := tryLogin(p, refused); spec.KindOf(err) != spec.Unauthorised {
			t.Errorf("%s: %v", refused, err)
		}
		p.loginAs("admin-"+applied, password, nil)
		until(t, "the label is told", func() error {
			if got := p.read("admin-password.applied"); got != applied+"\n" {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
	}
	restart := func() {
		t.Helper()
		p.control.stop()
		p.control.start()
		p.control.ready()
	}
	has("first password", "second password", "1")
	give("second password", "2")
	restart()
	has("second password", "first password", "2")

	mine := "my own password"
	if _, err := p.client.Apply(t.Context(), plan.Request{Users: []spec.User{{Username: "admin", Password: &mine}}, Confirm: "any"}); err != nil {
		t.Fatal(err)
	}
	has(mine, "second password", "")
	restart()
	has(mine, "second password", "")
	give("second password", "3")
	restart()
	has("second password", mine, "3")
	if p.read("admin-token") != token {
		t.Error("the deployer's token is another one")
	}
	before := p.device.more(10)
	until(t, "the device is read", func() error {
		if p.device.more(0) < before {
			return fmt.Errorf("%d reads", p.device.more(0))
		}
		return nil
	})
}

func tryLogin(p *plant, password string) error {
	_, err := p.client.Login(p.Context(), "admin", password)
	return err
}
