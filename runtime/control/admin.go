package control

import (
	"context"
	"slices"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// adminUser is who administers an instance from its first start on.
const adminUser = "admin"

func newAdmin() userRecord {
	return userRecord{
		Name: adminUser, Owner: ownerAPI, Roles: []string{spec.RoleAdmin}, Permissions: []spec.Permission{},
		Grants: []spec.Grant{spec.GrantPassword, spec.GrantToken},
	}
}

// Bootstrap creates the user "admin" with the role admin and the password, if there is no user.
func (c *Control) Bootstrap(ctx context.Context, password string) (created bool, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(c.model.Load().users) > 0 {
		return false, nil
	}
	admin := newAdmin()
	if admin.Password, err = hashGiven(admin.Name, password); err != nil {
		return false, err
	}
	return true, c.putAdmin(ctx, admin, func(*transaction) error { return nil })
}

// EnforceAdmin makes the password that of the user "admin", who can then log in with it and administer
// the instance, whatever became of that user before. The label names this wish: it is
// carried out once, and not again after somebody has changed the password since.
func (c *Control) EnforceAdmin(ctx context.Context, password, label string) (changed bool, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	last, err := c.store.enforced(ctx)
	if err != nil || last.label == label {
		return false, err
	}
	m := c.model.Load()
	was, exists := m.users[adminUser]
	admin := was
	if !exists {
		admin = newAdmin()
	}
	if !m.isAdmin(admin) {
		admin.Roles = with(admin.Roles, spec.RoleAdmin)
		admin.Grants = with(admin.Grants, spec.GrantPassword)
	}
	same := false
	if was.Password != "" {
		if same, err = c.opts.Verifier.Verify(ctx, was.Password, password); err != nil {
			return false, err
		}
	}
	if !same {
		admin.Label = ""
		if admin.Password, err = hashGiven(admin.Name, password); err != nil {
			return false, err
		}
	}
	if err := c.putAdmin(ctx, admin, func(tx *transaction) error {
		if !same {
			if err := tx.deleteSessionsOf(adminUser); err != nil {
				return err
			}
		}
		return tx.noteEnforced(enforced{label, admin.Password})
	}); err != nil {
		return false, err
	}
	symbol := plan.Update
	if !exists {
		symbol = plan.Create
	}
	c.opts.Log.Info("the admin's password is the one that was given at the deployment", "symbol", symbol, "password_changed", !same)
	c.addEvent(Event{Kind: EventApplied, Revision: c.Revision(), Steps: []string{string(symbol) + " " + plan.UserAddress(adminUser)}})
	return true, nil
}

// with returns the list with v in it.
func with[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(slices.Clone(list), v)
}

// putAdmin stores the user and publishes the model with it. c.writing is held.
func (c *Control) putAdmin(ctx context.Context, admin userRecord, also func(*transaction) error) (err error) {
	next := c.model.Load().clone()
	next.revision, err = c.store.mutate(ctx, func(tx *transaction) error {
		if err := also(tx); err != nil {
			return err
		}
		return tx.putUser(admin)
	})
	if err != nil {
		return err
	}
	admin.Revision = next.revision
	next.users[admin.Name] = admin
	c.bring(next)
	c.publish(next)
	return nil
}

// AdminEnforced returns the label of the last EnforceAdmin while its password is in force and the user
// "admin" administers the instance; else "".
func (c *Control) AdminEnforced(ctx context.Context) (label string, err error) {
	last, err := c.store.enforced(ctx)
	m := c.model.Load()
	admin, ok := m.users[adminUser]
	if err != nil || !ok || !m.isAdmin(admin) || admin.Password != last.hash {
		return "", err
	}
	return last.label, nil
}

// enforced is the last wish of whoever deploys for the admin's password.
type enforced struct {
	label string
	hash  string // what the user's password became by it
}

func (s *store) enforced(ctx context.Context) (enforced, error) {
	var e enforced
	if err := s.db.QueryRowContext(ctx, "SELECT admin_label, admin_hash FROM meta").Scan(&e.label, &e.hash); err != nil {
		return e, s.failed(err)
	}
	return e, nil
}

func (t *transaction) noteEnforced(e enforced) error {
	return t.exec("UPDATE meta SET admin_label = ?, admin_hash = ?", e.label, e.hash)
}

// hashGiven checks and hashes a password that a person chose.
func hashGiven(username, password string) (string, error) {
	if err := (spec.User{Username: username, Password: &password}).Check(); err != nil {
		return "", err
	}
	return credential.HashPassword(password)
}
