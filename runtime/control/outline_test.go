package control

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

const outlined = `description: d
metadata: {name: Press}
parameters:
  host: {type: string, default: 127.0.0.1}
  password: {type: string, format: password}
resources:
  plc:
    type: Cybus::Connection
    properties:
      protocol: Mqtt
      connection: {host: !ref host, username: u, password: !ref password}
  temp:
    type: Cybus::Endpoint
    properties:
      protocol: Mqtt
      connection: !ref plc
      subscribe: {topic: a}
  copy:
    type: Cybus::Mapping
    properties:
      mappings: [{subscribe: {endpoint: !ref temp}, publish: {topic: plant/press/$line}}]
  page: {type: Cybus::Link, properties: {name: Page, ingressRoute: !ref route, href: start}}
  route: {type: Cybus::IngressRoute, properties: {container: !ref web, slug: ui, target: {path: /}}}
  web: {type: Cybus::Container, properties: {image: x}}
`

// What a plan says of a service is what is read of it afterwards; a secret is in neither, and
// order makes no difference.
func TestOutline(t *testing.T) {
	i := start(t)
	req := plan.Request{AllowUnsupported: true, Outline: true, Services: []spec.Service{{
		ID: "press", Commissioning: outlined, Parameters: map[string]any{"password": "one-secret"},
	}}}
	planned := i.planOf(req)
	if len(planned.Services) != 1 {
		t.Fatalf("outlines are %+v", planned.Services)
	}
	outline := planned.Services[0]
	if want := []string{"plant/press/+", "services/press/temp"}; !reflect.DeepEqual(outline.Topics, want) {
		t.Errorf("topics are %q, want %q", outline.Topics, want)
	}
	if want := []spec.Link{{Name: "Page", Href: "/services/press/ui/start"}}; !reflect.DeepEqual(outline.Links, want) {
		t.Errorf("links are %+v, want %+v", outline.Links, want)
	}
	if want := []string{"password"}; !reflect.DeepEqual(outline.Given, want) {
		t.Errorf("given are %q, want %q", outline.Given, want)
	}
	if i.planOf(plan.Request{AllowUnsupported: true, Services: req.Services}).Services != nil {
		t.Error("outlines that nobody asked for")
	}
	req.Confirm = "any"
	i.do(http.MethodPost, "/api/v1/apply", i.token, req).want(http.StatusOK)
	var read spec.ServiceOutline
	if err := json.Unmarshal(i.do(http.MethodGet, "/api/v1/services/press/outline", i.token, nil).want(http.StatusOK).body, &read); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read, outline) {
		t.Errorf("read    %+v\nplanned %+v", read, outline)
	}
	req.Confirm, req.Services[0].Parameters["password"] = "", "another-secret"
	if again := i.planOf(req); again.Empty() || !reflect.DeepEqual(again.Services[0], outline) {
		t.Errorf("with another secret: %s %+v", again, again.Services)
	}
	i.do(http.MethodGet, "/api/v1/services/none/outline", i.token, nil).problem(spec.NotFound)
}

// Who may read but not write learns of it from a plan that asks.
func TestAuthorise(t *testing.T) {
	i := start(t)
	reader := plan.Request{
		Roles: []spec.Role{{Name: "reader", Permissions: []spec.Permission{{Resource: "api/v1/#", Operation: spec.Read, Context: spec.HTTP}}}},
		Users: []spec.User{{Username: "ci", Roles: []string{"reader"}}}, Confirm: "any",
	}
	i.do(http.MethodPost, "/api/v1/apply", i.token, reader).want(http.StatusOK)
	token := i.tokenOf("ci")
	req := plan.Request{Roles: []spec.Role{{Name: "new"}}}
	i.do(http.MethodPost, "/api/v1/plan", token, req).want(http.StatusOK)
	req.Authorise = true
	i.do(http.MethodPost, "/api/v1/plan", token, req).problem(spec.Forbidden)
	i.do(http.MethodPost, "/api/v1/plan", i.token, req).want(http.StatusOK)
	req = plan.Request{Authorise: true, Services: []spec.Service{{ID: "press", Commissioning: outlined, Parameters: map[string]any{"password": "p"}}}}
	i.do(http.MethodPost, "/api/v1/plan", i.token, req).problem(spec.Invalid) // as apply says: this build cannot run it all
}
