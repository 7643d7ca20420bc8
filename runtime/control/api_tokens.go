package control

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/spec"
)

const tokensRoute = apiRoot + "/tokens"

type loginOutput struct{ Body spec.LoginReply }

type tokenOutput struct{ Body spec.TokenSecret }

// registerTokens: everybody who is logged in sees, makes and revokes their own tokens, and
// a narrowed token itself; others only with permission on the route.
func (c *Control) registerTokens(api huma.API) {
	register(c, api, operation{
		id: "login", method: http.MethodPost, path: "/login", summary: "Trade a password for a token of 12 hours",
		access: anybody, body: spec.LoginRequest{}, maxBody: maxSmallBody, alias: "/api/login",
	}, func(ctx context.Context, in *rawBody) (*loginOutput, error) {
		var req spec.LoginRequest
		if err := decodeBody(in.RawBody, &req); err != nil {
			return nil, err
		}
		address, _ := ctx.Value(addressKey).(string)
		reply, err := c.login(ctx, req.Username, req.Password, address)
		return &loginOutput{reply}, err
	})
	register(c, api, operation{
		id: "logout", method: http.MethodPost, path: "/logout", summary: "Revoke the token that the request carries",
		access: loggedIn, status: http.StatusNoContent,
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		return nil, c.endSession(ctx, callerOf(ctx))
	})
	register(c, api, operation{
		id: "create-token", method: http.MethodPost, path: "/tokens", summary: "Make a named token; its secret is shown this once",
		access: loggedIn, body: spec.TokenRequest{}, maxBody: maxSmallBody, status: http.StatusCreated,
	}, c.createToken)
	register(c, api, operation{
		id: "list-tokens", method: http.MethodGet, path: "/tokens", summary: "List tokens, without their secrets", access: loggedIn,
	}, c.listTokens)
	register(c, api, operation{
		id: "get-token", method: http.MethodGet, path: "/tokens/{id}", summary: "Read one token, without its secret", access: loggedIn,
	}, func(ctx context.Context, in *idInput) (*oneOutput[spec.TokenView], error) {
		t, err := c.ownToken(ctx, spec.Read, in.ID)
		if err != nil {
			return nil, err
		}
		return &oneOutput[spec.TokenView]{ETag: etag(c.Revision()), Body: viewOfToken(t)}, nil
	})
	register(c, api, operation{
		id: "revoke-token", method: http.MethodDelete, path: "/tokens/{id}", summary: "Revoke a token", access: loggedIn, status: http.StatusNoContent,
	}, func(ctx context.Context, in *idInput) (*struct{}, error) {
		t, err := c.ownToken(ctx, spec.Write, in.ID)
		if err != nil {
			return nil, err
		}
		return nil, c.changeTokens(ctx, func(tx *transaction) error { return tx.deleteToken(t.ID) })
	})
}

// changeTokens raises the revision, though no part's desired state moves.
func (c *Control) changeTokens(ctx context.Context, change func(*transaction) error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	revision, err := c.store.mutate(ctx, change)
	if err != nil {
		return err
	}
	next := c.model.Load().clone()
	next.revision = revision
	c.publish(next)
	return nil
}

// mayUse reports whether the caller may see or revoke a token: its user's own, or, if it is
// narrowed itself, only itself, unless it has permission on the token's route.
func (c *caller) mayUse(op spec.Operation, t tokenRecord) bool {
	own := t.Username == c.username && (len(c.narrowed) == 0 || t.ID == c.tokenID)
	return own || c.allows(spec.HTTP, op, tokensRoute+"/"+t.ID)
}

// ownToken finds a token of the caller, or anybody's with permission on its route.
func (c *Control) ownToken(ctx context.Context, op spec.Operation, id string) (tokenRecord, error) {
	who := callerOf(ctx)
	t, ok, err := c.store.tokenByID(ctx, id)
	if err != nil {
		return t, err
	}
	if !ok || !who.mayUse(op, t) {
		return t, notFound("token", id)
	}
	return t, nil
}

func (c *Control) listTokens(ctx context.Context, in *listInput) (*listOutput[spec.TokenView], error) {
	all, err := c.store.tokens(ctx)
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	views := map[string]spec.TokenView{}
	for _, t := range all {
		if who.mayUse(spec.Read, t) {
			views[t.ID] = viewOfToken(t)
		}
	}
	return page(in, c.Revision(), sortedKeys(views), func(id string) (spec.TokenView, bool) { return views[id], true })
}

// maxTokenLife bounds what is asked for.
const maxTokenLife = 10 * 365 * 24 * time.Hour

func (c *Control) createToken(ctx context.Context, in *rawBody) (*tokenOutput, error) {
	var req spec.TokenRequest
	if err := decodeBody(in.RawBody, &req); err != nil {
		return nil, err
	}
	if err := spec.CheckName("token", req.Name); err != nil {
		return nil, err
	}
	life := defaultTokenLife
	if req.TTL != "" {
		var err error
		if life, err = time.ParseDuration(req.TTL); err != nil || life <= 0 || life > maxTokenLife {
			return nil, spec.Errorf(spec.Invalid, "cannot make a token that is valid for %q: give a duration such as 720h, at most %s", req.TTL, maxTokenLife)
		}
	}
	who := callerOf(ctx)
	for _, p := range req.Permissions {
		if err := p.Check(); err != nil {
			return nil, err
		}
	}
	if err := who.mayGrant("its tokens", req.Permissions); err != nil {
		return nil, err
	}
	if err := c.mayHoldTokens(who); err != nil {
		return nil, err
	}
	t, secret := newToken(who.username, req.Name, life, time.Now())
	t.ExpiresAt = who.latest(t.ExpiresAt)
	t.Permissions = slices.Clone(req.Permissions)
	if len(t.Permissions) == 0 {
		t.Permissions = slices.Clone(who.narrowed) // a narrow token makes no wide one
	}
	if err := c.changeTokens(ctx, func(tx *transaction) error { return tx.putToken(t) }); err != nil {
		return nil, err
	}
	return &tokenOutput{spec.TokenSecret{TokenView: viewOfToken(t), Token: secret}}, nil
}

// latest bounds a new token's expiry by that of the named token that makes it, so that
// nobody keeps for ever what was given for a time. A log-in's token bounds nothing: its
// person gave the password.
func (c *caller) latest(expires time.Time) time.Time {
	if c.tokenName != "" && !c.expires.IsZero() && c.expires.Before(expires) {
		return c.expires
	}
	return expires
}

func (c *Control) mayHoldTokens(who *caller) error {
	u, _ := c.model.Load().user(who.username)
	if !slices.Contains(u.Grants, spec.GrantToken) {
		return spec.Errorf(spec.Forbidden, "cannot make a token for user %q: it does not have the grant token", who.username)
	}
	return nil
}
