package control

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// tokenRecord is a token as it is stored; of its secret only a hash is.
type tokenRecord struct {
	ID          string
	Name        string // empty: a log-in's
	Username    string
	Hash        string
	Permissions []spec.Permission // empty: all of the user's
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	UsedAt      time.Time
	Extend      time.Duration // by which a use puts off the expiry; 0: not at all
}

const tokenColumns = "id, name, username, hash, permissions, created_at, expires_at, used_at, extend"

func scanToken(row interface{ Scan(...any) error }) (tokenRecord, error) {
	var t tokenRecord
	var extend int64
	err := row.Scan(&t.ID, &t.Name, &t.Username, &t.Hash, jsonColumn{&t.Permissions}, timeColumn{&t.CreatedAt}, timeColumn{&t.ExpiresAt}, timeColumn{&t.UsedAt}, &extend)
	t.Extend = time.Duration(extend) * time.Second
	return t, err
}

func (t *transaction) putToken(r tokenRecord) error {
	return t.exec("INSERT OR REPLACE INTO tokens ("+tokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Name, r.Username, r.Hash, asJSON(r.Permissions), asTime(r.CreatedAt), asTime(r.ExpiresAt), asTime(r.UsedAt), int64(r.Extend/time.Second))
}

// useToken notes a use of a token that still exists.
func (t *transaction) useToken(id string, used, expires time.Time) error {
	return t.exec("UPDATE tokens SET used_at = ?, expires_at = ? WHERE id = ?", asTime(used), asTime(expires), id)
}

func (t *transaction) deleteToken(id string) error {
	return t.exec("DELETE FROM tokens WHERE id = ?", id)
}

// deleteSessionsOf ends what a log-in with the old password began; named tokens stay.
func (t *transaction) deleteSessionsOf(username string) error {
	return t.exec("DELETE FROM tokens WHERE username = ? AND name = ''", username)
}

// deleteExpired drops tokens that ended before now.
func (t *transaction) deleteExpired(now time.Time) error {
	return t.exec("DELETE FROM tokens WHERE expires_at <> '' AND datetime(expires_at) < datetime(?)", asTime(now))
}

// tokenByHash finds a token by its secret's hash.
func (s *store) tokenByHash(ctx context.Context, hash string) (tokenRecord, bool, error) {
	return s.oneToken(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE hash = ?", hash)
}

// tokenByID finds a token by its id.
func (s *store) tokenByID(ctx context.Context, id string) (tokenRecord, bool, error) {
	return s.oneToken(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id)
}

func (s *store) oneToken(ctx context.Context, query string, arg string) (tokenRecord, bool, error) {
	t, err := scanToken(s.db.QueryRowContext(ctx, query, arg))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t, false, nil
	case err != nil:
		return t, false, s.failed(err)
	}
	return t, true, nil
}

// tokens lists all, by id.
func (s *store) tokens(ctx context.Context) ([]tokenRecord, error) {
	var list []tokenRecord
	err := s.each(ctx, "SELECT "+tokenColumns+" FROM tokens ORDER BY id", func(row *sql.Rows) error {
		t, err := scanToken(row)
		list = append(list, t)
		return err
	})
	return list, err
}
