package control

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

func (c *Control) registerAgents(api huma.API) {
	register(c, api, operation{
		id: "list-agents", method: http.MethodGet, path: "/agents", summary: "List the mappers, and what they have taken over",
	}, func(_ context.Context, in *listInput) (*listOutput[spec.AgentView], error) {
		views := c.agentViews()
		return page(in, c.Revision(), sortedKeys(views), func(name string) (spec.AgentView, bool) { return views[name], true })
	})
	register(c, api, operation{
		id: "get-agent", method: http.MethodGet, path: "/agents/{id}", summary: "Read one mapper",
	}, func(_ context.Context, in *idInput) (*oneOutput[spec.AgentView], error) {
		v, ok := c.agentViews()[in.ID]
		if !ok {
			return nil, notFound("agent", in.ID)
		}
		return &oneOutput[spec.AgentView]{ETag: etag(c.Revision()), Body: v}, nil
	})
	register(c, api, operation{
		id: "delete-agent", method: http.MethodDelete, path: "/agents/{id}", summary: "Forget a mapper that is offline", status: http.StatusNoContent,
	}, func(ctx context.Context, in *idInput) (*struct{}, error) { return nil, c.ForgetAgent(ctx, in.ID) })
	c.registerCertificates(api)
}

// registerCertificates: what others must trust. The authority's is for those who cannot log in
// before they trust it; whoever gets it so compares its fingerprint.
func (c *Control) registerCertificates(api huma.API) {
	if c.opts.Authority != nil {
		register(c, api, operation{
			id: "get-authority", method: http.MethodGet, path: "/authority", summary: "Read the certificate of the instance's own authority, which signs those of its servers", access: anybody,
		}, func(context.Context, *struct{}) (*oneOutput[spec.AuthorityView], error) {
			return &oneOutput[spec.AuthorityView]{ETag: etag(c.Revision()), Body: authorityView(c.opts.Authority)}, nil
		})
	}
	if c.opts.Certificate == nil {
		return
	}
	register(c, api, operation{
		id: "get-certificate", method: http.MethodGet, path: "/certificate", summary: "Read the OPC UA client certificate that machines must trust",
	}, func(context.Context, *struct{}) (*oneOutput[spec.CertificateView], error) {
		certificate, err := c.opts.Certificate()
		if err != nil {
			return nil, err
		}
		return &oneOutput[spec.CertificateView]{ETag: etag(c.Revision()), Body: certificate}, nil
	})
}

func authorityView(a *pki.Authority) spec.AuthorityView {
	return spec.AuthorityView{PEM: string(a.PEM()), Fingerprint: pki.Fingerprint(a.Certificate()), NotAfter: a.Certificate().NotAfter}
}

// agentViews are the mappers that reported or that services name.
func (c *Control) agentViews() map[string]spec.AgentView {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	views := map[string]spec.AgentView{}
	for name, h := range c.resources {
		if h.size() > 0 {
			views[name] = spec.AgentView{Name: name}
		}
	}
	for name, a := range c.agents {
		views[name] = spec.AgentView{Name: name, Online: a.online(now), SeenAt: a.seenAt.UTC(), Revision: a.revision, Bus: a.bus}
	}
	return views
}

// ForgetAgent removes a mapper that is offline. It also takes back the certificate of one that runs in a process of its own.
func (c *Control) ForgetAgent(ctx context.Context, name string) error {
	c.mu.Lock()
	a, known := c.agents[name]
	online := known && a.online(time.Now())
	if !online {
		delete(c.agents, name)
	}
	c.mu.Unlock()
	_, joined := c.model.Load().parts[name]
	switch {
	case online:
		return spec.Errorf(spec.Conflict, "cannot forget agent %q: it is online", name)
	case joined:
		return c.changeParts(ctx, func(tx *transaction, m *model) error {
			delete(m.parts, name)
			return tx.deletePart(name)
		})
	case !known:
		return notFound("agent", name)
	}
	return nil
}
