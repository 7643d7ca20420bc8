package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

const (
	// maxBody bounds a request: a commissioning file is at most 16 MiB, a stack holds several.
	maxBody = 64 << 20
	// maxSmallBody bounds what a log-in or a token takes.
	maxSmallBody = 64 << 10
)

// versionHeader says the server's version in every answer.
const versionHeader = "Millwright-Version"

type contextKey int

const (
	callerKey contextKey = iota
	addressKey
	noneMatchKey
	partKey
)

// callerOf is who sends the request; the routes that need nobody have none.
func callerOf(ctx context.Context) *caller {
	who, _ := ctx.Value(callerKey).(*caller)
	if who == nil {
		return &caller{}
	}
	return who
}

// newHandler builds the routes. Everything but the log-in and the API's description needs a
// token, and permission on its route unless it says otherwise (see access).
func (c *Control) newHandler() http.Handler {
	mux := http.NewServeMux()
	api := humago.New(mux, apiConfig(c.opts.Version))
	c.registerPlan(api)
	c.registerServices(api)
	c.registerOutline(api)
	c.registerUsers(api)
	c.registerRoles(api)
	c.registerAgents(api)
	c.registerClients(api)
	c.registerTokens(api)
	c.registerStreams(api)
	c.registerParts(api)
	for _, name := range []string{"ErrorModel", "ErrorDetail"} { // huma's own, never sent
		delete(api.OpenAPI().Components.Schemas.Map(), name)
	}
	return c.guard(mux)
}

func apiConfig(version string) huma.Config {
	if version == "" {
		version = "0.0.0"
	}
	config := huma.DefaultConfig("Millwright", version)
	config.Info.Description = "The shop floor as code: plan and apply services, users and roles; read how they stand."
	config.OpenAPIPath = apiRoot + "/openapi"
	config.DocsPath, config.SchemasPath = "", ""
	config.CreateHooks = nil // no $schema in answers
	config.Transformers = []huma.Transformer{ownProblem}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of POST /api/v1/login or POST /api/v1/tokens."},
		"part":  {Type: "mutualTLS", Description: "The certificate that a part of the instance gets of POST /api/v1/join."},
	}
	return config
}

// access says who may use a route.
type access int

const (
	byRoute  access = iota // permission on the route: read for GET, else write
	anybody                // no token
	loggedIn               // a token; the handler checks the rest
	byPart                 // the certificate of a part that has joined; the handler checks the rest
)

// operation describes one route.
type operation struct {
	id, method, path, summary string
	access                    access
	alias                     string // a route of Connectware clients, below /api
	maxBody                   int64
	body                      any // documents the request's body
	status                    int
	// revisioned: the answer depends on nothing but the revision of its ETag, so that
	// If-None-Match is honoured. States, health and uses move without a revision.
	revisioned bool
}

// register adds a route. Bodies are decoded by the handlers, so that numbers keep all their
// digits; the description of the body comes from op.body.
func register[I, O any](c *Control, api huma.API, op operation, handle func(context.Context, *I) (*O, error)) {
	handler := func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, c.problem(err)
		}
		known, _ := ctx.Value(noneMatchKey).(string)
		if t, ok := any(out).(tagged); ok && op.revisioned && known != "" && matches(known, t.tag()) {
			return nil, notModified{t.tag()}
		}
		return out, nil
	}
	if op.alias != "" {
		alias := c.describe(api, op)
		alias.Path, alias.Hidden = op.alias, true
		alias.RejectUnknownQueryParameters = false // its clients are not ours
		huma.Register(api, alias, handler)
	}
	described := c.describe(api, op)
	huma.Register(api, described, handler)
	if op.body != nil { // huma describes a raw body as bytes
		described.RequestBody.Content["application/json"].Schema = api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(op.body), true, "")
	}
}

func (c *Control) describe(api huma.API, op operation) huma.Operation {
	registry := api.OpenAPI().Components.Schemas
	described := huma.Operation{
		OperationID: op.id, Method: op.method, Path: apiRoot + op.path, Summary: op.summary,
		DefaultStatus: op.status, MaxBodyBytes: op.maxBody, SkipValidateBody: true,
		RejectUnknownQueryParameters: true,
		Middlewares:                  huma.Middlewares{c.admit(api, op)},
		Responses: map[string]*huma.Response{"default": {
			Description: "A problem", Content: map[string]*huma.MediaType{
				problemType: {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "")},
			},
		}},
	}
	switch op.access {
	case byRoute, loggedIn:
		described.Security = []map[string][]string{{"token": {}}}
	case byPart:
		described.Security = []map[string][]string{{"part": {}}}
	}
	if op.revisioned {
		described.Parameters = append(described.Parameters, &huma.Param{
			Name: "If-None-Match", In: "header", Description: "An ETag: with 304 nothing has changed since.", Schema: &huma.Schema{Type: "string"},
		})
	}
	if op.body != nil {
		described.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	}
	return described
}

// admit refuses who may not use the route, before the body is read.
func (c *Control) admit(_ huma.API, op operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if op.access == anybody {
			next(ctx)
			return
		}
		if op.access == byPart {
			part, err := c.partFrom(r)
			if err != nil {
				c.writeProblem(w, err)
				return
			}
			next(huma.WithValue(ctx, partKey, part))
			return
		}
		who, err := c.callerFrom(r)
		if err == nil && op.access == byRoute {
			err = who.route(operationOf(r.Method), canonicalPath(r.URL.Path))
		}
		if err != nil {
			c.writeProblem(w, err)
			return
		}
		next(huma.WithValue(huma.WithValue(ctx, callerKey, who), noneMatchKey, r.Header.Get("If-None-Match")))
	}
}

func operationOf(method string) spec.Operation {
	if method == http.MethodGet || method == http.MethodHead {
		return spec.Read
	}
	return spec.Write
}

// canonicalPath is the route that permissions name: an alias stands for the real one.
func canonicalPath(path string) string {
	if rest, ok := strings.CutPrefix(path, "/api/"); ok && !strings.HasPrefix(rest, "v1/") {
		return apiRoot + "/" + rest
	}
	return path
}

// callerFrom authenticates a request.
func (c *Control) callerFrom(r *http.Request) (*caller, error) {
	secret, err := bearer(r)
	if err != nil {
		return nil, err
	}
	return c.authenticate(r.Context(), secret)
}

func bearer(r *http.Request) (string, error) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return "", spec.Errorf(spec.Unauthorised, "cannot tell who sends the request: it has no token").
			WithHint("send \"Authorization: Bearer TOKEN\" with a token of POST %s/login or POST %s/tokens", apiRoot, apiRoot)
	}
	return strings.TrimSpace(secret), nil
}

// guard is around all routes: versions, routes that do not exist, and the client's address.
func (c *Control) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.opts.Version != "" {
			w.Header().Set(versionHeader, c.opts.Version)
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if err := c.checkClient(r.UserAgent()); err != nil {
			c.writeProblem(w, err)
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			c.noRoute(w, r, mux)
			return
		}
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), addressKey, host)))
	})
}

// noRoute answers what no route is for, telling a wrong method from a wrong path.
func (c *Control) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	p := c.problem(spec.Errorf(spec.NotFound, "cannot find %s", r.URL.Path).WithHint("the routes are listed in %s/openapi.json", apiRoot))
	if len(allowed) > 0 {
		p = c.problem(spec.Errorf(spec.Invalid, "cannot %s %s: it takes %s", r.Method, r.URL.Path, strings.Join(allowed, ", ")))
		p.Status, p.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
	}
	c.writeProblemStatus(w, p)
}

// checkClient refuses our own clients of another major version; others are not known.
func (c *Control) checkClient(agent string) error {
	rest, ok := strings.CutPrefix(agent, "millwright/")
	if !ok {
		return nil
	}
	client, _, _ := strings.Cut(rest, " ")
	theirs, known := major(client)
	ours, knownToo := major(c.opts.Version)
	if !known || !knownToo || theirs == ours || client == "0.0.0" {
		return nil
	}
	return spec.Errorf(spec.Conflict, "cannot serve version %s: this instance is version %s", client, c.opts.Version).
		WithHint("use a program of the same major version as the instance")
}

// major returns 1 for "v1.2.3"; ok is false for what is no version.
func major(version string) (n int, ok bool) {
	first, _, dotted := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, err := strconv.Atoi(first)
	return n, dotted && err == nil
}

// decodeBody reads a request's JSON strictly: unknown keys and what follows it are refused.
func decodeBody(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return spec.Errorf(spec.Invalid, "cannot read the request's body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return spec.Errorf(spec.Invalid, "cannot read the request's body: something follows the JSON value")
	}
	return nil
}

// etag is how answers carry the revision.
func etag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }

// rawBody is the input of routes whose handler decodes the body.
type rawBody struct {
	RawBody []byte `contentType:"application/json"`
}

type planOutput struct {
	ETag string `header:"ETag"`
	Body plan.Plan
}

func (c *Control) registerPlan(api huma.API) {
	register(c, api, operation{
		id: "plan", method: http.MethodPost, path: "/plan", summary: "Say what applying would do; nothing changes",
		access: loggedIn, body: plan.Request{}, maxBody: maxBody, alias: "/api/validate/service",
	}, func(ctx context.Context, in *rawBody) (*planOutput, error) {
		return c.answerPlan(ctx, in.RawBody, c.planOf)
	})
	register(c, api, operation{
		id: "apply", method: http.MethodPost, path: "/apply", summary: "Do what the plan says",
		access: loggedIn, body: plan.Request{}, maxBody: maxBody,
	}, func(ctx context.Context, in *rawBody) (*planOutput, error) {
		return c.answerPlan(ctx, in.RawBody, c.apply)
	})
}

func (c *Control) answerPlan(ctx context.Context, body []byte, do func(context.Context, *caller, plan.Request) (plan.Plan, error)) (*planOutput, error) {
	var req plan.Request
	if err := decodeBody(body, &req); err != nil {
		return nil, err
	}
	p, err := do(ctx, callerOf(ctx), req)
	if err != nil {
		return nil, err
	}
	return &planOutput{ETag: etag(p.Revision), Body: p}, nil
}
