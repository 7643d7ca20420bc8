package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/millwright/millwright/internal/spec"
)

// Collection is one kind of object that the API lists.
type Collection[V any] struct {
	client *Client
	path   string
}

// Services returns the installed services.
func (c *Client) Services() Collection[spec.ServiceView] {
	return Collection[spec.ServiceView]{c, "services"}
}

// Users returns the accounts.
func (c *Client) Users() Collection[spec.UserView] { return Collection[spec.UserView]{c, "users"} }

// Roles returns the roles.
func (c *Client) Roles() Collection[spec.RoleView] { return Collection[spec.RoleView]{c, "roles"} }

// Agents returns the mappers.
func (c *Client) Agents() Collection[spec.AgentView] { return Collection[spec.AgentView]{c, "agents"} }

// Tokens returns the API tokens, without their secrets.
func (c *Client) Tokens() Collection[spec.TokenView] { return Collection[spec.TokenView]{c, "tokens"} }

// Connections returns how every connection stands.
func (c *Client) Connections() Collection[spec.ResourceStatus] {
	return Collection[spec.ResourceStatus]{c, "connections"}
}

// Endpoints returns how every endpoint stands.
func (c *Client) Endpoints() Collection[spec.ResourceStatus] {
	return Collection[spec.ResourceStatus]{c, "endpoints"}
}

// Mappings returns how every mapping stands.
func (c *Client) Mappings() Collection[spec.ResourceStatus] {
	return Collection[spec.ResourceStatus]{c, "mappings"}
}

// Get returns one object. A missing one is an error of kind not_found.
func (l Collection[V]) Get(ctx context.Context, id string) (V, error) {
	var v V
	path, err := l.item(id)
	if err != nil {
		return v, err
	}
	err = l.client.do(ctx, call{method: http.MethodGet, path: path, out: &v, again: true})
	return v, err
}

// All iterates over the objects, page by page as they are asked for. Query narrows the list
// as the route allows it; nil is everything. After an error nothing follows.
func (l Collection[V]) All(ctx context.Context, query url.Values) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var none V
		q := url.Values{}
		for name, values := range query {
			q[name] = values
		}
		for {
			var page spec.Page[V]
			err := l.client.do(ctx, call{method: http.MethodGet, path: l.path, query: q, out: &page, again: true})
			if err != nil {
				yield(none, err)
				return
			}
			for _, v := range page.Items {
				if !yield(v, nil) {
					return
				}
			}
			if page.Cursor == "" {
				return
			}
			if page.Cursor == q.Get("cursor") {
				yield(none, spec.Errorf(spec.Internal, "cannot list %s: the server repeats the cursor %q", l.path, page.Cursor))
				return
			}
			q.Set("cursor", page.Cursor)
		}
	}
}

// List collects All.
func (l Collection[V]) List(ctx context.Context, query url.Values) ([]V, error) {
	items := []V{}
	for v, err := range l.All(ctx, query) {
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

// Delete removes one object. A missing one is an error of kind not_found.
func (l Collection[V]) Delete(ctx context.Context, id string) error {
	path, err := l.item(id)
	if err != nil {
		return err
	}
	return l.client.do(ctx, call{method: http.MethodDelete, path: path})
}

// item is the path of one object. The ids that a path would swallow name nothing.
func (l Collection[V]) item(id string) (string, error) {
	if id == "" || id == "." || id == ".." {
		return "", spec.Errorf(spec.NotFound, "cannot find %q among the %s", id, l.path)
	}
	return l.path + "/" + url.PathEscape(id), nil
}

// Certificate returns the certificate that machines must trust.
func (c *Client) Certificate(ctx context.Context) (spec.CertificateView, error) {
	var v spec.CertificateView
	err := c.do(ctx, call{method: http.MethodGet, path: "certificate", out: &v, again: true})
	return v, err
}

// Authority returns the certificate of the instance's own authority.
func (c *Client) Authority(ctx context.Context) (spec.AuthorityView, error) {
	var v spec.AuthorityView
	err := c.do(ctx, call{method: http.MethodGet, path: "authority", out: &v, again: true})
	return v, err
}

// ServiceOutline returns what a service consists of. A missing one is an error of kind not_found.
func (c *Client) ServiceOutline(ctx context.Context, id string) (spec.ServiceOutline, error) {
	var v spec.ServiceOutline
	path, err := c.Services().item(id)
	if err != nil {
		return v, err
	}
	err = c.do(ctx, call{method: http.MethodGet, path: path + "/outline", out: &v, again: true})
	return v, err
}
