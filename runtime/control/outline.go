package control

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func (c *Control) registerOutline(api huma.API) {
	register(c, api, operation{
		id: "get-service-outline", method: http.MethodGet, path: "/services/{id}/outline", summary: "Say what a service consists of",
	}, func(_ context.Context, in *idInput) (*oneOutput[spec.ServiceOutline], error) {
		s, ok := c.model.Load().services[in.ID]
		if !ok {
			return nil, notFound("service", in.ID)
		}
		outline, err := outlineOf(s)
		return &oneOutput[spec.ServiceOutline]{ETag: etag(s.record.Revision), Body: outline}, err
	})
}

// complete adds to a plan what the request asks to know beside the steps: whether the caller
// may apply them, and what the services will consist of.
func (d *draft) complete(p plan.Plan) (plan.Plan, error) {
	if d.req.Authorise {
		if err := d.checkUnsupported(p); err != nil {
			return p, err
		}
		if err := d.authorise(p.Steps); err != nil {
			return p, err
		}
	}
	if !d.req.Outline {
		return p, nil
	}
	for _, desired := range d.input.Desired.Services {
		outline, err := outlineOf(d.after.services[desired.ID])
		if err != nil {
			return p, err
		}
		p.Services = append(p.Services, outline)
	}
	return p, nil
}

// outlineOf describes a service without telling any secret.
func outlineOf(s *service) (spec.ServiceOutline, error) {
	id := s.record.ID
	o := spec.ServiceOutline{ID: id, Resources: []spec.ResourceOutline{}, Topics: []string{}, Links: []spec.Link{}, Given: []string{}}
	for _, r := range s.canonical.Resources {
		digest, err := digestOf(r.Type, r.Properties)
		if err != nil {
			return o, err
		}
		one := spec.ResourceOutline{ID: r.ID, Type: r.Type, Digest: digest}
		if r.Type == "Endpoint" {
			one.Topic = plan.EndpointTopic(id, r)
		}
		o.Resources = append(o.Resources, one)
		o.Topics = append(o.Topics, plan.PublishedTopics(id, r)...)
		if link, ok := s.link(r); ok {
			o.Links = append(o.Links, link)
		}
	}
	slices.SortFunc(o.Resources, func(a, b spec.ResourceOutline) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(o.Topics)
	o.Topics = slices.Compact(o.Topics)
	values := map[string]any{}
	for _, p := range s.canonical.Parameters {
		values[p.Name] = p.Value
		if p.Sensitive {
			values[p.Name] = sensitiveText
		}
		if p.Given {
			o.Given = append(o.Given, p.Name)
		}
	}
	slices.Sort(o.Given)
	var err error
	o.Digest, err = digestOf(s.canonical.Name, s.canonical.Version, s.canonical.Description, s.canonical.Metadata, values, o.Resources)
	return o, err
}

// link is where a Link resource leads: below the route of the service that it names.
func (s *service) link(r *commissioning.Resource) (spec.Link, bool) {
	if r.Type != "Link" {
		return spec.Link{}, false
	}
	name, _ := r.Properties["name"].(string)
	route, _ := r.Properties["ingressRoute"].(string)
	below, _ := r.Properties["href"].(string)
	href := "/services/" + s.record.ID
	if target := s.byID[route]; target != nil {
		slug, _ := target.Properties["slug"].(string)
		href += "/" + strings.Trim(slug, "/")
	}
	if below != "" {
		href += "/" + strings.TrimLeft(below, "/")
	}
	return spec.Link{Name: cmp.Or(name, r.ID), Href: href}, true
}

// digestOf names values; secrets print as such, so that none is in it.
func digestOf(values ...any) (string, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return "", spec.Errorf(spec.Internal, "cannot make a service's digest: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
