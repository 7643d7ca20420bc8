package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/millwright/millwright/internal/spec"
)

// Login turns a password into a token that is valid for some hours. The Client itself goes
// on with what its settings say; see WithToken.
func (c *Client) Login(ctx context.Context, username, password string) (spec.LoginReply, error) {
	var reply spec.LoginReply
	body := spec.LoginRequest{Username: username, Password: password}
	err := c.do(ctx, call{method: http.MethodPost, path: "login", body: body, out: &reply, anonymous: true})
	var refused *spec.Error
	if errors.As(err, &refused) && refused.Kind == spec.Unauthorised {
		refused.Hint = "see that both are right; on Docker the instance's admin_password sets the one of the user admin anew"
	}
	return reply, err
}

// Logout revokes the token that the Client sends.
func (c *Client) Logout(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodPost, path: "logout"})
}

// WithToken returns a Client for the same instance that sends the token.
func (c *Client) WithToken(token string) *Client {
	s := c.settings
	s.Token, s.Username, s.Password = token, "", ""
	return &Client{base: c.base, settings: s, version: c.version, log: c.log, http: c.http, token: token}
}

// CreateToken makes a named token of the caller. Its secret is shown this once.
func (c *Client) CreateToken(ctx context.Context, r spec.TokenRequest) (spec.TokenSecret, error) {
	var secret spec.TokenSecret
	err := c.do(ctx, call{method: http.MethodPost, path: "tokens", body: r, out: &secret})
	return secret, err
}
