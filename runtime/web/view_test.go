package web

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// factory is a session that sees services with many resources.
type factory struct {
	services  int
	resources int
}

var _ Session = factory{}

func (f factory) User() string { return "line1" }

func (f factory) Services() (seen []spec.ServiceView, whole bool) {
	for i := range f.services {
		v := spec.ServiceView{ID: fmt.Sprintf("s%04d", i), State: "enabled", Resources: f.resources}
		if i == f.services-1 {
			v.State = stateDeviated
			for d := range shownDeviations + 3 {
				v.Deviations = append(v.Deviations, spec.Deviation{Address: fmt.Sprintf("service/%s/endpoint/e%d", v.ID, d), State: "failed", Error: "<b>off</b>"})
			}
		}
		seen = append(seen, v)
	}
	return seen, true
}

func (f factory) Resources(service string) (all []spec.ResourceStatus, ok bool) {
	for i := range f.resources {
		typ := []string{"Mapping", "Endpoint", "Connection", "Container"}[i%4]
		id := fmt.Sprintf("r%05d", i)
		all = append(all, spec.ResourceStatus{Service: service, ID: id, Type: typ, State: "enabled", OnTarget: i != 7, Topic: "services/" + service + "/" + id})
	}
	return all, true
}

func (f factory) MayRead(string) bool { return true }

func (f factory) End(context.Context) error { return nil }

func look(t *testing.T, f factory) (*Page, *view) {
	t.Helper()
	p := newPage(t)
	return p, p.look(f, noon)
}

func newPage(t *testing.T) *Page {
	t.Helper()
	p, err := New(Options{
		Login:     func(context.Context, string, string, string) (spec.LoginReply, error) { return spec.LoginReply{}, nil },
		Session:   func(context.Context, string) (Session, error) { return factory{}, nil },
		Topics:    func() map[string]bool { return nil },
		Subscribe: func(context.Context, func(Message)) (func(), error) { return func() {}, nil },
		Log:       discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOverviewIsBounded(t *testing.T) {
	p, v := look(t, factory{services: 120, resources: 200})
	v.overview(1)
	if len(v.Services) != servicesPerPage || v.Services[0].ID != "s0119" || v.Services[1].ID != "s0000" || v.Deviated != 1 || v.Total != 120 {
		t.Errorf("%d services, first %s, %d deviated of %d", len(v.Services), v.Services[0].ID, v.Deviated, v.Total)
	}
	first := v.Services[0]
	if len(first.Rows) != rowsPerService || first.Unshown != 150 || len(first.Shown) != shownDeviations || first.More != 3 {
		t.Errorf("%d rows, %d more; %d deviations, %d more", len(first.Rows), first.Unshown, len(first.Shown), first.More)
	}
	if first.Rows[0].ID != "r00007" || first.Rows[1].Type != "connection" || first.Rows[49].Type != "connection" {
		t.Errorf("rows: %+v %+v", first.Rows[0], first.Rows[1])
	}
	if v.Pages != (pages{1, 3, "", "?page=2"}) {
		t.Errorf("pages: %+v", v.Pages)
	}
	var html bytes.Buffer
	if err := p.templates.ExecuteTemplate(&html, "page.html", v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<title>1 deviated – Millwright</title>", "&lt;b&gt;off&lt;/b&gt;", `href="?service=s0119"`, "All 200 resources", `href="?page=2"`, "and 3 more"} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	_, v = look(t, factory{services: 120})
	v.overview(99)
	if len(v.Services) != 20 || v.Pages != (pages{3, 3, "?page=2", ""}) {
		t.Errorf("the last page: %d, %+v", len(v.Services), v.Pages)
	}
}

func TestOneService(t *testing.T) {
	_, v := look(t, factory{services: 3, resources: rowsPerPage + 1})
	if v.one("none", 1) {
		t.Error("a service that is not there is shown")
	}
	if !v.one("s0001", 2) || len(v.Services) != 1 || len(v.Services[0].Rows) != 1 || v.Services[0].Unshown != 0 || v.Pages != (pages{2, 2, "?page=1&service=s0001", ""}) {
		t.Errorf("%+v %+v", v.Services, v.Pages)
	}
	_, empty := look(t, factory{})
	empty.overview(1)
	if empty.Pages != (pages{1, 1, "", ""}) || len(empty.Services) != 0 {
		t.Errorf("%+v", empty.Pages)
	}
}

func TestAPartIsMissing(t *testing.T) {
	if _, err := New(Options{}); spec.KindOf(err) != spec.Internal {
		t.Error(err)
	}
}

// TestRunFollowsTheBroker: Run ends its subscription, and forgets nothing that is an endpoint's.
func TestRunFollowsTheBroker(t *testing.T) {
	var events []string
	p := newPage(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.opts.Subscribe = func(_ context.Context, deliver func(Message)) (func(), error) {
		deliver(Message{Topic: "services/a/b", Payload: []byte("1")})
		events = append(events, "subscribed")
		cancel()
		return func() { events = append(events, "stopped") }, nil
	}
	if err := p.Run(ctx); err != nil || !slices.Equal(events, []string{"subscribed", "stopped"}) {
		t.Errorf("%v, %q", err, events)
	}
	if _, ok := p.values.get("services/a/b"); !ok {
		t.Error("the value is missing")
	}
	refused := spec.Errorf(spec.Forbidden, "no")
	p.opts.Subscribe = func(context.Context, func(Message)) (func(), error) { return nil, refused }
	if err := p.Run(ctx); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("a refused subscription is no failure")
	}
}
