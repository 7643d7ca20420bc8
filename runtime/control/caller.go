package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// caller is who sends a request.
type caller struct {
	username    string
	tokenID     string
	tokenName   string            // empty: a log-in's
	expires     time.Time         // of the token; zero: never
	permissions []spec.Permission // the user's, roles resolved
	// narrowed are the token's own; an empty list does not narrow anything.
	narrowed []spec.Permission
}

// allows is the one place that decides: what is not granted is refused, and a token grants
// no more than both its user and itself have.
func (c *caller) allows(context spec.Context, op spec.Operation, resource string) bool {
	return spec.Allows(c.permissions, context, op, resource) &&
		(len(c.narrowed) == 0 || spec.Allows(c.narrowed, context, op, resource))
}

// route returns a Forbidden error unless the caller may use the route.
func (c *caller) route(op spec.Operation, path string) error { return c.may(spec.HTTP, op, path) }

// may returns a Forbidden error unless the caller may do it; its hint says whose permission
// is missing, the user's or the token's.
func (c *caller) may(context spec.Context, op spec.Operation, resource string) error {
	if c.allows(context, op, resource) {
		return nil
	}
	refused := spec.Errorf(spec.Forbidden, "%s may not %s %s", c.lacking(context, op, resource), op, resource)
	if c.narrowedAway(context, op, resource) {
		return refused.WithHint("the token holds only a part of its user's permissions: use another one, or make one with the permission {resource: %q, operation: %s, context: %s}", resource, op, context)
	}
	return refused.WithHint("ask an administrator for the permission {resource: %q, operation: %s, context: %s}", resource, op, context)
}

// narrowedAway reports whether the user may do it and only the token may not.
func (c *caller) narrowedAway(context spec.Context, op spec.Operation, resource string) bool {
	return spec.Allows(c.permissions, context, op, resource) && !c.allows(context, op, resource)
}

// lacking names who does not have the permission.
func (c *caller) lacking(context spec.Context, op spec.Operation, resource string) string {
	if c.narrowedAway(context, op, resource) {
		return fmt.Sprintf("token %q of user %q", c.tokenName, c.username)
	}
	return fmt.Sprintf("user %q", c.username)
}

// missing returns the first permission that the caller does not have.
func (c *caller) missing(permissions []spec.Permission) (spec.Permission, bool) {
	i := slices.IndexFunc(permissions, func(p spec.Permission) bool { return !c.allows(p.Context, p.Operation, p.Resource) })
	if i < 0 {
		return spec.Permission{}, false
	}
	return permissions[i], true
}

// mayGrant refuses to give away what the caller does not have.
func (c *caller) mayGrant(what string, permissions []spec.Permission) error {
	if p, lacks := c.missing(permissions); lacks {
		return spec.Errorf(spec.Forbidden, "%s may not change %s: nobody can grant more than they have, and it grants %s on %q (%s)",
			c.lacking(p.Context, p.Operation, p.Resource), what, p.Operation, p.Resource, p.Context)
	}
	return nil
}

// The lives of tokens.
const (
	loginLife        = 12 * time.Hour
	defaultTokenLife = 90 * 24 * time.Hour
	// useNoted is how exactly a token's last use is known; noting each would be a write a request.
	useNoted = time.Minute
)

const tokenPrefix = "mw_"

// newToken makes a token's record and its secret, which is stored nowhere. Ids begin with
// nothing of the secret.
func newToken(username, name string, life time.Duration, now time.Time) (tokenRecord, string) {
	secret := credential.Generate(tokenPrefix)
	id := sha256.Sum256([]byte("id " + secret))
	t := tokenRecord{
		ID: hex.EncodeToString(id[:8]), Name: name, Username: username,
		Hash: credential.HashGenerated(secret), CreatedAt: now, ExpiresAt: now.Add(life), Permissions: []spec.Permission{},
	}
	return t, secret
}

// IssueToken makes a named token without asking anybody, for the context file of who starts
// the instance. Each use puts off its expiry by ttl.
func (c *Control) IssueToken(ctx context.Context, username, name string, ttl time.Duration) (spec.TokenSecret, error) {
	if _, ok := c.model.Load().user(username); !ok {
		return spec.TokenSecret{}, spec.Errorf(spec.NotFound, "cannot make a token: there is no user %q", username)
	}
	t, secret := newToken(username, name, ttl, time.Now())
	t.Extend = ttl
	if _, err := c.store.mutate(ctx, func(tx *transaction) error { return tx.putToken(t) }); err != nil {
		return spec.TokenSecret{}, err
	}
	return spec.TokenSecret{TokenView: viewOfToken(t), Token: secret}, nil
}

// authenticate finds out whose token it is, and notes the use.
func (c *Control) authenticate(ctx context.Context, secret string) (*caller, error) {
	now := time.Now()
	t, u, err := c.tokenInForce(ctx, secret, now)
	if err != nil {
		return nil, err
	}
	return &caller{
		username: u.Name, tokenID: t.ID, tokenName: t.Name, expires: c.noteUse(ctx, t, now),
		permissions: c.model.Load().permissionsOf(u), narrowed: t.Permissions,
	}, nil
}

// tokenInForce finds a token and its user; kind unauthorised: it is not in force.
func (c *Control) tokenInForce(ctx context.Context, secret string, now time.Time) (tokenRecord, userRecord, error) {
	refused := spec.Errorf(spec.Unauthorised, "cannot accept the token: it is wrong, expired or revoked")
	if len(secret) > credential.MaxSecret {
		return tokenRecord{}, userRecord{}, refused
	}
	t, ok, err := c.store.tokenByHash(ctx, credential.HashGenerated(secret))
	if err != nil {
		return t, userRecord{}, err
	}
	if !ok || !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) {
		return t, userRecord{}, refused
	}
	m := c.model.Load()
	u, ok := m.user(t.Username)
	if !ok || !m.mayLogIn(u, t.Name != "") {
		return t, u, refused
	}
	return t, u, nil
}

// mayLogIn tells whether the account is in force: by a named token, or by a log-in's.
func (m *model) mayLogIn(u userRecord, named bool) bool {
	if _, brought := m.brought.users[u.Name]; brought && !m.brought.enabled[u.Name] {
		return false
	}
	if named {
		return slices.Contains(u.Grants, spec.GrantToken)
	}
	return slices.Contains(u.Grants, spec.GrantPassword)
}

// noteUse returns when the token expires from now on.
func (c *Control) noteUse(ctx context.Context, t tokenRecord, now time.Time) time.Time {
	if now.Sub(t.UsedAt) < useNoted {
		return t.ExpiresAt
	}
	expires := t.ExpiresAt
	if t.Extend > 0 {
		expires = now.Add(t.Extend)
	}
	if err := c.store.touch(ctx, func(tx *transaction) error { return tx.useToken(t.ID, now, expires) }); err != nil {
		c.opts.Log.Warn("a token's use was not noted", "token", t.ID, "error", err)
		return t.ExpiresAt
	}
	return expires
}

// login checks a password and makes a token of some hours. What is no user name is refused
// in the same time, and kept nowhere.
func (c *Control) login(ctx context.Context, username, password, address string) (spec.LoginReply, error) {
	var hashes []string
	m := c.model.Load()
	u, known := m.user(username)
	if hash := c.passwordHash(m, u); known && hash != "" && m.mayLogIn(u, false) {
		hashes = []string{hash}
	}
	hash, err := c.opts.Logins.Verify(ctx, credential.Attempt{User: username, Address: address, Secret: password}, hashes)
	var limited *credential.LimitedError
	switch {
	case errors.As(err, &limited):
		return spec.LoginReply{}, busy(limited.After, "too many wrong passwords")
	case err != nil:
		return spec.LoginReply{}, err
	case hash != "":
		return c.startSession(ctx, username)
	}
	if spec.CheckName("user", username) != nil {
		username = fmt.Sprintf("(no name: %d bytes)", len(username))
	}
	c.opts.Log.Warn("a log-in was refused", "user", username, "address", address)
	return spec.LoginReply{}, spec.Errorf(spec.Unauthorised, "cannot log in: wrong user name or password")
}

// passwordHash is the stored hash, or that of the password which a service's file gives.
func (c *Control) passwordHash(m *model, u userRecord) string {
	password, ok := m.brought.passwords[u.Name]
	if u.Password != "" || !ok {
		return u.Password
	}
	hash, err := c.hashes.of(u.Name, password)
	if err != nil {
		return "" // publish has said why
	}
	return hash
}

func (c *Control) startSession(ctx context.Context, username string) (spec.LoginReply, error) {
	t, secret := newToken(username, "", loginLife, time.Now())
	if err := c.store.touch(ctx, func(tx *transaction) error { return tx.putToken(t) }); err != nil {
		return spec.LoginReply{}, err
	}
	return spec.LoginReply{Token: secret, ExpiresAt: t.ExpiresAt.UTC()}, nil
}

func viewOfToken(t tokenRecord) spec.TokenView {
	return spec.TokenView{
		ID: t.ID, Name: t.Name, Username: t.Username, Permissions: t.Permissions,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(), UsedAt: t.UsedAt.UTC(),
	}
}
