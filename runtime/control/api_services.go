package control

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func (c *Control) registerServices(api huma.API) {
	register(c, api, operation{
		id: "list-services", method: http.MethodGet, path: "/services", summary: "List the installed services, without their sources", alias: "/api/services",
	}, func(_ context.Context, in *listInput) (*listOutput[spec.ServiceView], error) {
		m := c.model.Load()
		return page(in, m.revision, sortedKeys(m.services), func(id string) (spec.ServiceView, bool) {
			return c.viewOfService(m, m.services[id], false), true
		})
	})
	register(c, api, operation{
		id: "get-service", method: http.MethodGet, path: "/services/{id}", summary: "Read one service", alias: "/api/services/{id}",
	}, func(_ context.Context, in *idInput) (*oneOutput[spec.ServiceView], error) {
		m := c.model.Load()
		s, ok := m.services[in.ID]
		if !ok {
			return nil, notFound("service", in.ID)
		}
		return &oneOutput[spec.ServiceView]{ETag: etag(s.record.Revision), Body: c.viewOfService(m, s, true)}, nil
	})
	register(c, api, operation{
		id: "put-service", method: http.MethodPut, path: "/services/{id}", summary: "Apply one service", body: spec.Service{}, maxBody: maxBody,
	}, func(ctx context.Context, in *putInput) (*planOutput, error) {
		var s spec.Service
		if err := decodeBody(in.RawBody, &s); err != nil {
			return nil, err
		}
		if s.ID != "" && s.ID != in.ID {
			return nil, spec.Errorf(spec.Invalid, "cannot apply service %q under the route of %q", s.ID, in.ID)
		}
		s.ID = in.ID
		return c.applyOne(ctx, plan.Request{Services: []spec.Service{s}}, in.IfMatch)
	})
	register(c, api, operation{
		id: "delete-service", method: http.MethodDelete, path: "/services/{id}", summary: "Delete one service", status: http.StatusNoContent, alias: "/api/services/{id}",
	}, func(ctx context.Context, in *deleteInput) (*struct{}, error) {
		if _, ok := c.model.Load().services[in.ID]; !ok {
			return nil, notFound("service", in.ID)
		}
		return c.deleteOne(ctx, plan.Request{Services: []spec.Service{{ID: in.ID, State: spec.Absent}}}, in.IfMatch)
	})
	register(c, api, operation{
		id: "list-service-resources", method: http.MethodGet, path: "/services/{id}/resources", summary: "List how a service's resources stand",
	}, c.listResources)
	for route, typ := range map[string]string{"connections": "Connection", "endpoints": "Endpoint", "mappings": "Mapping"} {
		register(c, api, operation{
			id: "list-" + route, method: http.MethodGet, path: "/" + route, summary: "List how all " + route + " stand: state, health, counters",
		}, func(_ context.Context, in *statusesInput) (*listOutput[spec.ResourceStatus], error) {
			statuses := slices.DeleteFunc(c.statuses(typ), func(s spec.ResourceStatus) bool {
				return in.Service != "" && s.Service != in.Service || in.State != "" && s.State != in.State
			})
			return c.pageStatuses(&listInput{in.Limit, in.Cursor, in.Filter}, statuses)
		})
		register(c, api, operation{
			id: "get-" + strings.ToLower(typ), method: http.MethodGet, path: "/" + route + "/{id}", summary: "Say how one of the " + route + " stands; its id is service::resource",
		}, func(_ context.Context, in *idInput) (*oneOutput[spec.ResourceStatus], error) {
			return c.oneStatus(typ, in.ID)
		})
	}
}

// applyOne is PUT: the request is its own confirmation.
func (c *Control) applyOne(ctx context.Context, req plan.Request, match string) (*planOutput, error) {
	req.Confirm = "any"
	p, err := c.applyIf(ctx, callerOf(ctx), req, ifMatch(match, addressOfOne(req)))
	if err != nil {
		return nil, err
	}
	return &planOutput{ETag: etag(p.Revision), Body: p}, nil
}

// deleteOne deletes whoever owns the object: it is named by its own route.
func (c *Control) deleteOne(ctx context.Context, req plan.Request, match string) (*struct{}, error) {
	req.Adopt = true
	_, err := c.applyOne(ctx, req, match)
	return nil, err
}

func (c *Control) pageStatuses(in *listInput, statuses []spec.ResourceStatus) (*listOutput[spec.ResourceStatus], error) {
	byKey := make(map[string]spec.ResourceStatus, len(statuses))
	for _, s := range statuses {
		byKey[s.Key()] = s
	}
	return page(in, c.Revision(), sortedKeys(byKey), func(key string) (spec.ResourceStatus, bool) { return byKey[key], true })
}

func (c *Control) oneStatus(typ, key string) (*oneOutput[spec.ResourceStatus], error) {
	for _, s := range c.statuses(typ) {
		if s.Key() == key {
			return &oneOutput[spec.ResourceStatus]{ETag: etag(c.Revision()), Body: s}, nil
		}
	}
	return nil, notFound(strings.ToLower(typ), key)
}

// statusesInput is a listInput with what else resources are found by.
type statusesInput struct {
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"200" doc:"Most items of one answer."`
	Cursor  string `query:"cursor" doc:"Where the last answer ended; as it was given."`
	Filter  string `query:"filter" doc:"Only items whose id contains this text."`
	Service string `query:"service" doc:"Only items of the service with this id."`
	State   string `query:"state" doc:"Only items in this state, such as failed or connected."`
}

// resourcesInput is a listInput below a service; huma does not look into unexported fields.
type resourcesInput struct {
	ID     string `path:"id" doc:"The service's id."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200" doc:"Most items of one answer."`
	Cursor string `query:"cursor" doc:"Where the last answer ended; as it was given."`
	Filter string `query:"filter" doc:"Only items whose id contains this text."`
}

func (c *Control) listResources(_ context.Context, in *resourcesInput) (*listOutput[spec.ResourceStatus], error) {
	s, ok := c.model.Load().services[in.ID]
	if !ok {
		return nil, notFound("service", in.ID)
	}
	return c.pageStatuses(&listInput{in.Limit, in.Cursor, in.Filter}, c.resourcesOf(s))
}

// viewOfService is the service as the API shows it: no secret is in it.
func (c *Control) viewOfService(m *model, s *service, whole bool) spec.ServiceView {
	state, deviations := c.serviceState(m, s)
	v := spec.ServiceView{
		ID: s.record.ID, Name: s.canonical.Name, Version: s.canonical.Version, Description: s.canonical.Description,
		State: state, Enabled: s.record.Enabled, Owner: s.record.Owner, Revision: s.record.Revision, UpdatedAt: s.record.UpdatedAt,
		Resources: len(s.canonical.Resources), Deviations: deviations, Grants: m.grants[s.record.ID].permissions, Parameters: shownParameters(s.canonical),
		SecretParameters: s.record.Content.SecretNames, SecretLabel: s.record.Content.SecretLabel,
	}
	if whole {
		v.Commissioning = maskedSource(s)
	}
	return v
}

const sensitiveText = "(sensitive)"

func shownParameters(s *commissioning.Service) map[string]any {
	if len(s.Parameters) == 0 {
		return nil
	}
	shown := make(map[string]any, len(s.Parameters))
	for _, p := range s.Parameters {
		shown[p.Name] = p.Value
		if _, secret := p.Value.(commissioning.Secret); p.Sensitive || secret {
			shown[p.Name] = sensitiveText
		}
	}
	return shown
}

// minMaskable is the shortest secret that can be told apart in a text.
const minMaskable = 4

// maskedSource is the service's file with every secret that stands in it masked. Where a
// secret cannot be found as it was written (it is folded, escaped, put together, or too
// short to be told apart), nothing of the file is shown.
func maskedSource(s *service) string {
	text := s.record.Content.Source
	given := map[string]bool{}
	secrets := map[string]bool{}
	for _, p := range s.canonical.Parameters {
		if p.Sensitive && p.Given {
			eachSecret(commissioning.Secret{Value: p.Value}, func(secret string) { given[secret] = true })
		} else if p.Sensitive {
			eachSecret(commissioning.Secret{Value: p.Value}, func(secret string) { secrets[secret] = true })
		}
	}
	for _, r := range s.canonical.Resources {
		eachSecret(r.Properties, func(secret string) { secrets[secret] = true })
	}
	for secret := range secrets {
		switch {
		case secret == "" || given[secret] && !strings.Contains(text, secret):
		case len(secret) < minMaskable || !strings.Contains(text, secret):
			return ""
		default:
			text = strings.ReplaceAll(text, secret, sensitiveText)
		}
	}
	return text
}

// eachSecret finds the texts that stand in secrets.
func eachSecret(v any, found func(string)) {
	switch x := v.(type) {
	case commissioning.Secret:
		eachText(x.Value, found)
	case map[string]any:
		for _, e := range x {
			eachSecret(e, found)
		}
	case []any:
		for _, e := range x {
			eachSecret(e, found)
		}
	}
}

func eachText(v any, found func(string)) {
	switch x := v.(type) {
	case string:
		found(x)
	case commissioning.Secret:
		eachText(x.Value, found)
	case commissioning.Symbol:
		for _, p := range x.Parts {
			if p.Name == "" {
				found(p.Text)
			}
		}
	case map[string]any:
		for _, e := range x {
			eachText(e, found)
		}
	case []any:
		for _, e := range x {
			eachText(e, found)
		}
	}
}
