package ansible

import (
	"context"
	"net/url"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

func serviceInfoModule() *Module {
	return &Module{
		Name: "service_info", Short: "Say how the services of a Millwright instance stand", Connection: true, ReadOnly: true,
		Description: []string{"Lists the installed services, or one of them, with their states. It changes nothing."},
		Options: []Option{
			{Name: "id", Type: Str, Doc: []string{"Id of one service. Not given: all of them. One that is not installed gives an empty list."}},
			{Name: "resources", Type: Bool, Default: false, Doc: []string{"List how each connection, endpoint and mapping of these services stands too."}},
		},
		SeeAlso: []string{"service"},
		Examples: `- name: See how the press stands
  millwright.shopfloor.service_info:
    id: press
    resources: true
  register: press

- name: Fail unless it runs as it should
  ansible.builtin.assert:
    that: press.services[0].state == "enabled"
`,
		Returns: []Return{
			{Name: "services", Type: List, Elements: Dict, Returned: "always", Doc: "The services, in the order of their ids, without their files.", Sample: []any{
				map[string]any{"id": "press", "name": "Press", "state": "enabled", "enabled": true, "owner": "api", "resources": int64(3)},
			}},
			{Name: "connections", Type: List, Elements: Dict, Returned: "when I(resources) is true", Doc: "How each connection stands."},
			{Name: "endpoints", Type: List, Elements: Dict, Returned: "when I(resources) is true", Doc: "How each endpoint stands, with the time of its last value and its counters."},
			{Name: "mappings", Type: List, Elements: Dict, Returned: "when I(resources) is true", Doc: "How each mapping stands."},
		},
		run: runServiceInfo,
	}
}

func runServiceInfo(ctx context.Context, t *task) error {
	id := t.args.text("id")
	services, err := t.services(ctx, id)
	if err != nil {
		return err
	}
	t.result["services"] = services
	if !t.args.flag("resources") {
		return nil
	}
	query := url.Values{}
	if id != "" {
		query.Set("service", id)
	}
	for name, statuses := range map[string]client.Collection[spec.ResourceStatus]{
		"connections": t.client.Connections(), "endpoints": t.client.Endpoints(), "mappings": t.client.Mappings(),
	} {
		list, err := ask(ctx, t, func(ctx context.Context) ([]spec.ResourceStatus, error) { return statuses.List(ctx, query) })
		if err != nil && !t.empty {
			return err
		}
		t.result[name] = append([]spec.ResourceStatus{}, list...)
	}
	return nil
}

// services reads one service or all, without the text of their files.
func (t *task) services(ctx context.Context, id string) ([]spec.ServiceView, error) {
	if t.empty {
		return []spec.ServiceView{}, nil
	}
	list, err := ask(ctx, t, func(ctx context.Context) ([]spec.ServiceView, error) {
		if id == "" {
			return t.client.Services().List(ctx, nil)
		}
		v, err := t.client.Services().Get(ctx, id)
		if spec.KindOf(err) == spec.NotFound {
			return []spec.ServiceView{}, nil
		}
		return []spec.ServiceView{v}, err
	})
	for i := range list {
		list[i].Commissioning = ""
	}
	return list, err
}
