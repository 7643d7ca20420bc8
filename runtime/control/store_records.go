package control

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// roleRecord is a role as it is stored.
type roleRecord struct {
	Name        string
	Owner       string
	Permissions []spec.Permission
	Revision    int64
}

// userRecord is an account as it is stored.
type userRecord struct {
	Name        string
	Owner       string
	Password    string // hash; empty: none
	Label       string // of the password; empty: none
	Roles       []string
	Permissions []spec.Permission
	Grants      []spec.Grant
	Revision    int64
}

// serviceRecord is an installed service as it is stored: source and parameters are the
// truth, everything else is worked out of them again at every start.
type serviceRecord struct {
	ID         string
	Owner      string
	Enabled    bool
	Generation int64 // raised by a restart
	Content    serviceContent
	Revision   int64
	UpdatedAt  time.Time
}

// serviceContent is sealed in the store, since both source and parameters may hold secrets.
type serviceContent struct {
	FileName   string          `json:"file_name"`
	Source     string          `json:"source"`
	Parameters json.RawMessage `json:"parameters"` // as given
	Secret     string          `json:"secret"`     // password of the service's own identity
	// SecretNames are the parameters that were given as secrets, SecretLabel their label.
	SecretNames []string `json:"secret_names,omitempty"`
	SecretLabel string   `json:"secret_label,omitempty"`
}

// contents is all that the store holds, but for tokens.
type contents struct {
	revision int64
	roles    []roleRecord
	users    []userRecord
	services []serviceRecord
}

// transaction is an open write. Its methods put the transaction's revision into each record.
type transaction struct {
	ctx      context.Context
	tx       *sql.Tx
	store    *store
	revision int64
}

func (t *transaction) exec(query string, args ...any) error {
	if _, err := t.tx.ExecContext(t.ctx, query, args...); err != nil {
		return t.store.failed(err)
	}
	return nil
}

func (t *transaction) putRole(r roleRecord) error {
	return t.exec("INSERT OR REPLACE INTO roles (name, owner, permissions, revision) VALUES (?, ?, ?, ?)",
		r.Name, r.Owner, asJSON(r.Permissions), t.revision)
}

func (t *transaction) deleteRole(name string) error {
	return t.exec("DELETE FROM roles WHERE name = ?", name)
}

func (t *transaction) putUser(u userRecord) error {
	return t.exec("INSERT OR REPLACE INTO users (name, owner, password, password_label, roles, permissions, grants, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		u.Name, u.Owner, u.Password, u.Label, asJSON(u.Roles), asJSON(u.Permissions), asJSON(u.Grants), t.revision)
}

// deleteUser also ends the user's sessions and tokens: who is made anew under the same name is somebody else.
func (t *transaction) deleteUser(name string) error {
	if err := t.exec("DELETE FROM users WHERE name = ?", name); err != nil {
		return err
	}
	return t.deleteTokensOf(name)
}

func (t *transaction) deleteTokensOf(username string) error {
	return t.exec("DELETE FROM tokens WHERE username = ?", username)
}

func (t *transaction) putService(s serviceRecord) error {
	sealed, err := t.store.seal(s.ID, s.Content)
	if err != nil {
		return err
	}
	return t.exec("INSERT OR REPLACE INTO services (id, owner, enabled, generation, content, revision, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		s.ID, s.Owner, s.Enabled, s.Generation, sealed, t.revision, asTime(s.UpdatedAt))
}

func (t *transaction) deleteService(id string) error {
	return t.exec("DELETE FROM services WHERE id = ?", id)
}

// load reads everything but the tokens.
func (s *store) load(ctx context.Context) (contents, error) {
	var c contents
	if err := s.db.QueryRowContext(ctx, "SELECT revision FROM meta").Scan(&c.revision); err != nil {
		return c, s.broken(err)
	}
	err := errors.Join(
		s.each(ctx, "SELECT name, owner, permissions, revision FROM roles ORDER BY name", func(row *sql.Rows) error {
			var r roleRecord
			err := row.Scan(&r.Name, &r.Owner, jsonColumn{&r.Permissions}, &r.Revision)
			c.roles = append(c.roles, r)
			return err
		}),
		s.each(ctx, "SELECT name, owner, password, password_label, roles, permissions, grants, revision FROM users ORDER BY name", func(row *sql.Rows) error {
			var u userRecord
			err := row.Scan(&u.Name, &u.Owner, &u.Password, &u.Label, jsonColumn{&u.Roles}, jsonColumn{&u.Permissions}, jsonColumn{&u.Grants}, &u.Revision)
			c.users = append(c.users, u)
			return err
		}),
		s.each(ctx, "SELECT id, owner, enabled, generation, content, revision, updated_at FROM services ORDER BY id", func(row *sql.Rows) error {
			var r serviceRecord
			var sealed []byte
			if err := row.Scan(&r.ID, &r.Owner, &r.Enabled, &r.Generation, &sealed, &r.Revision, timeColumn{&r.UpdatedAt}); err != nil {
				return err
			}
			err := s.unseal(r.ID, sealed, &r.Content)
			c.services = append(c.services, r)
			return err
		}))
	return c, err
}

// each calls scan for every row.
func (s *store) each(ctx context.Context, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return s.broken(err)
	}
	for rows.Next() && err == nil {
		err = scan(rows)
	}
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return s.broken(err)
	}
	return nil
}

// seal encrypts a service's content with AES-256-GCM, bound to its id.
func (s *store) seal(id string, content serviceContent) ([]byte, error) {
	gcm, err := s.gcm()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(nonce, nonce, []byte(asJSON(content)), []byte(id)), nil
}

func (s *store) unseal(id string, sealed []byte, content *serviceContent) error {
	gcm, err := s.gcm()
	if err != nil {
		return err
	}
	if len(sealed) < gcm.NonceSize() {
		return fmt.Errorf("the content of service %q is cut off", id)
	}
	text, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], []byte(id))
	if err != nil {
		return fmt.Errorf("cannot decrypt the content of service %q: %w", id, err)
	}
	return json.Unmarshal(text, content)
}

func (s *store) gcm() (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.key)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot use the key: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot use the key: %w", err)
	}
	return gcm, nil
}

// asJSON encodes one of our own types, which cannot fail.
func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("control: %T is not JSON: %v", v, err))
	}
	return string(text)
}

// jsonColumn scans JSON text.
type jsonColumn struct{ into any }

func (c jsonColumn) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%T is not JSON text", v)
	}
	return json.Unmarshal([]byte(text), c.into)
}

func asTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// timeColumn scans what asTime wrote.
type timeColumn struct{ into *time.Time }

func (c timeColumn) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%T is not a time", v)
	}
	if text == "" {
		*c.into = time.Time{}
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	*c.into = t
	return err
}
