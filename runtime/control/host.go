package control

import (
	"context"
	"net/http"
)

// What the process that holds the control part may do without a token, besides Bootstrap
// and IssueToken.

// HasUsers reports whether the first admin has been made.
func (c *Control) HasUsers() bool { return len(c.model.Load().users) > 0 }

// TokenValid reports whether a token is in force, and counts as its use.
func (c *Control) TokenValid(ctx context.Context, token string) bool {
	_, err := c.authenticate(ctx, token)
	return err == nil
}

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
