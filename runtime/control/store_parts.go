package control

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// partRecord is a part that runs in a process of its own and has joined.
type partRecord struct {
	Name       string
	Key        string // digest of the public key that its certificates are for
	Credential string // hash of the secret that it logs in with at the broker
	JoinedAt   time.Time
}

// joinTokenRecord is a token that a part may be traded a certificate for; of its secret only
// a hash is stored.
type joinTokenRecord struct {
	Hash      string
	Part      string
	ExpiresAt time.Time // zero: never
	SpentBy   string    // digest of the key that it was traded for; empty: not yet
}

// revokedToken is in SpentBy of a token whose part was forgotten: no key has that digest.
const revokedToken = "-"

// good reports whether the token still lets in the holder of the key.
func (t joinTokenRecord) good(key string, now time.Time) bool {
	return (t.SpentBy == "" || t.SpentBy == key) && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

func (t *transaction) putPart(r partRecord) error {
	return t.exec("INSERT OR REPLACE INTO parts (name, key, credential, joined_at) VALUES (?, ?, ?, ?)", r.Name, r.Key, r.Credential, asTime(r.JoinedAt))
}

// deletePart forgets a part, and keeps the tokens that let it in from letting it in again.
func (t *transaction) deletePart(name string) error {
	return errors.Join(
		t.exec("DELETE FROM parts WHERE name = ?", name),
		t.exec("UPDATE join_tokens SET spent_by = ? WHERE part = ? AND spent_by <> ''", revokedToken, name))
}

// addJoinToken stores a token that is not known yet.
func (t *transaction) addJoinToken(r joinTokenRecord) error {
	return t.exec("INSERT OR IGNORE INTO join_tokens (hash, part, expires_at, spent_by) VALUES (?, ?, ?, ?)", r.Hash, r.Part, asTime(r.ExpiresAt), r.SpentBy)
}

// spendJoinToken keeps a token for one key; "" is no token. One that has gone to another key since
// it was looked at is of kind unauthorised.
func (t *transaction) spendJoinToken(hash, key string) error {
	if hash == "" {
		return nil
	}
	r, err := t.tx.ExecContext(t.ctx, "UPDATE join_tokens SET spent_by = ? WHERE hash = ? AND spent_by IN ('', ?)", key, hash, key)
	if err != nil {
		return t.store.failed(err)
	}
	spent, err := r.RowsAffected()
	if err != nil {
		return t.store.failed(err)
	}
	if spent == 0 {
		return spec.Errorf(spec.Unauthorised, "cannot let the part join: its token was spent just now")
	}
	return nil
}

// deleteExpiredJoinTokens drops those that ended before now.
func (t *transaction) deleteExpiredJoinTokens(now time.Time) error {
	return t.exec("DELETE FROM join_tokens WHERE expires_at <> '' AND datetime(expires_at) < datetime(?)", asTime(now))
}

func (s *store) parts(ctx context.Context) ([]partRecord, error) {
	var list []partRecord
	err := s.each(ctx, "SELECT name, key, credential, joined_at FROM parts ORDER BY name", func(row *sql.Rows) error {
		var r partRecord
		err := row.Scan(&r.Name, &r.Key, &r.Credential, timeColumn{&r.JoinedAt})
		list = append(list, r)
		return err
	})
	return list, err
}

// joinTokens lists those of one part.
func (s *store) joinTokens(ctx context.Context, part string) ([]joinTokenRecord, error) {
	var list []joinTokenRecord
	err := s.each(ctx, "SELECT hash, part, expires_at, spent_by FROM join_tokens WHERE part = ? ORDER BY hash", func(row *sql.Rows) error {
		var r joinTokenRecord
		err := row.Scan(&r.Hash, &r.Part, timeColumn{&r.ExpiresAt}, &r.SpentBy)
		list = append(list, r)
		return err
	}, part)
	return list, err
}
