package control

import (
	"context"
	"net/http"
	"time"
)

// What the process that holds the control part may do without a token, besides Bootstrap,
// EnforceAdmin and IssueToken.

// HasUsers reports whether the first admin has been made.
func (c *Control) HasUsers() bool { return len(c.model.Load().users) > 0 }

// TokenValid reports whether a token is in force, and counts as its use.
func (c *Control) TokenValid(ctx context.Context, token string) bool {
	_, err := c.authenticate(ctx, token)
	return err == nil
}

// TokenExpires returns until when a token is in force, and does not count as its use; kind
// unauthorised: it is not. A zero time: for ever.
func (c *Control) TokenExpires(ctx context.Context, token string) (time.Time, error) {
	t, _, err := c.tokenInForce(ctx, token, time.Now())
	return t.ExpiresAt, err
}

// MayHoldTokens reports whether the account is there and may log in by named tokens.
func (c *Control) MayHoldTokens(username string) bool {
	m := c.model.Load()
	u, ok := m.user(username)
	return ok && m.mayLogIn(u, true)
}

// AccessMoved returns a channel that is closed when who may do what has moved: a token, a user,
// a role. Take it before looking.
func (c *Control) AccessMoved() <-chan struct{} { return c.access.wait() }

// Guard lets requests through to next whose token has permission on their route, and
// answers the others with a problem.
func (c *Control) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := c.callerFrom(r)
		if err == nil {
			err = who.route(operationOf(r.Method), r.URL.Path)
		}
		if err != nil {
			c.writeProblem(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
