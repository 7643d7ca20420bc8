package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// replica is a receiver's copy of a watch.
type replica struct {
	values map[string]string
	groups []string // of each group, the types and keys
	cursor string
	events []string
}

func (r *replica) handle(e spec.Event[string]) error {
	switch e.Type {
	case spec.EventSnapshot:
		r.values = map[string]string{}
	case spec.EventPut:
		r.values[e.Key] = e.Value
	case spec.EventDelete:
		delete(r.values, e.Key)
	case spec.EventSynced:
		r.cursor = e.Cursor
		r.groups = append(r.groups, strings.Join(r.events, " "))
		r.events = nil
		return nil
	}
	r.events = append(r.events, strings.TrimSpace(string(e.Type)+" "+e.Key))
	return nil
}

func TestHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub[string]("store")
		r := &replica{values: map[string]string{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		watch := func(after string) {
			ctx, cancel = context.WithCancel(t.Context())
			go func() { done <- h.Watch(ctx, after, r.handle) }()
			synctest.Wait()
		}
		stop := func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the watch ended with %v", err)
			}
		}
		watch("")
		if len(r.groups) != 0 {
			t.Errorf("before there is a state: %q", r.groups)
		}
		steps := []map[string]string{{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"b": "2", "c": "3"}}
		for n, values := range steps {
			h.set(int64(n+5), values)
			synctest.Wait()
			if !maps.Equal(r.values, values) || !h.takenOver() {
				t.Errorf("after %v the copy is %v", values, r.values)
			}
		}
		if got := fmt.Sprintf("%q", r.groups); got != `["snapshot put a put b" "put b" "" "delete a put c"]` || r.cursor != "store-8" {
			t.Errorf("the groups are %s, the cursor %s", got, r.cursor)
		}
		stop()

		h.set(9, map[string]string{"c": "4"})
		for name, test := range map[string]struct{ after, want string }{
			"behind":         {"store-7", "delete a delete b put c"},
			"a little":       {"store-8", "delete b put c"},
			"up to date":     {"store-9", ""},
			"before start":   {"store-5", "snapshot put c"},
			"ahead":          {"store-99", "snapshot put c"},
			"another store":  {"other-8", "snapshot put c"},
			"no number":      {"store-x", "snapshot put c"},
			"no cursor":      {"", "snapshot put c"},
			"negative":       {"store--3", "snapshot put c"},
			"a longer store": {"store-a-8", "snapshot put c"},
		} {
			r.groups = nil
			watch(test.after)
			if len(r.groups) != 1 || r.groups[0] != test.want {
				t.Errorf("%s: %q", name, r.groups)
			}
			stop()
		}
	})
}

func TestHubForgets(t *testing.T) {
	h := newHub[string]("s")
	values := map[string]string{}
	for n := range maxLog + 500 {
		values["k"] = fmt.Sprint(n)
		h.set(int64(n), maps.Clone(values))
	}
	if len(h.log) > maxLog || h.reaches(100) || !h.reaches(maxLog) {
		t.Errorf("the log has %d changes, forgotten up to %d", len(h.log), h.forgotten)
	}
}

func TestHubEndsWithItsReceiver(t *testing.T) {
	h := newHub[string]("s")
	h.set(1, map[string]string{"a": "1"})
	failure := errors.New("no room")
	if err := h.Watch(t.Context(), "", func(spec.Event[string]) error { return failure }); !errors.Is(err, failure) || h.watched() {
		t.Errorf("the watch ended with %v", err)
	}
}

// mapperOf follows the watch as a mapper does, and reports everything as wished.
func (i *instance) mapperOf(agent string, state func(spec.Resource) spec.ResourceStatus) (stop func()) {
	i.Helper()
	ctx, cancel := context.WithCancel(i.Context())
	done := make(chan struct{})
	resources := map[string]spec.Resource{}
	go func() {
		defer close(done)
		err := i.control.Resources(agent).Watch(ctx, "", func(e spec.Event[spec.Resource]) error {
			switch e.Type {
			case spec.EventSnapshot:
				clear(resources)
			case spec.EventPut:
				resources[e.Key] = e.Value
			case spec.EventDelete:
				delete(resources, e.Key)
			case spec.EventSynced:
				r := spec.AgentStatus{Agent: agent, Revision: e.Revision, Full: true}
				for _, res := range resources {
					s := state(res)
					s.Service, s.ID, s.Type = res.Service, res.ID, res.Type
					r.Put = append(r.Put, s)
				}
				return i.control.Report(ctx, r)
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			i.Error(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestPartsGetWhatConcernsThem(t *testing.T) {
	i := start(t)
	other := strings.Replace(press, "protocol: Modbus\n      connection: {host", "agentName: hall2\n      protocol: Modbus\n      connection: {host", 1)
	i.apply(install("press", other))
	byAgent := i.control.model.Load().resourcesByAgent()
	if len(byAgent["hall2"]) == 0 || len(byAgent["hall2"])+len(byAgent[spec.DefaultAgent]) != 3 {
		t.Errorf("the mappers get %v", byAgent)
	}
	names := sortedKeys(i.control.identities.values)
	if got := strings.Join(names, " "); got != "admin control:messages service:press" {
		t.Errorf("the broker knows %s", got)
	}
	if got := i.control.identities.values[MessagesIdentity]; len(got.Credentials) != 0 {
		t.Error("somebody can log in as the API's own identity")
	}
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Absent}}})
	if h := i.control.resources["hall2"]; h.size() != 0 {
		t.Error("a mapper keeps what was deleted")
	}
}

// What a resource publishes needs a permission: the broker has it before the mapper has the
// resource. A broker that hangs holds the mapper back for a while, one that is away not at all.
func TestHubAwaitsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		policy, resources := newHub[string]("store"), newHub[string]("store")
		resources.before = policy.await
		var mu sync.Mutex
		var order []string
		happened := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		expect := func(want string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(order, ", "); got != want {
				t.Errorf("order is %s", got)
			}
		}
		release := make(chan struct{}, 2)
		ended := make(chan error, 2)
		watch := func(h *hub[string], handle func(spec.Event[string])) {
			go func() {
				ended <- h.Watch(ctx, "", func(e spec.Event[string]) error { handle(e); return nil })
			}()
		}
		set := func(revision int64) {
			policy.set(revision, map[string]string{"user": fmt.Sprint(revision)})
			resources.set(revision, map[string]string{"endpoint": fmt.Sprint(revision)})
			synctest.Wait()
		}
		watch(resources, func(e spec.Event[string]) {
			if e.Type == spec.EventPut {
				happened("resource " + e.Value)
			}
		})
		set(1)
		watch(policy, func(e spec.Event[string]) {
			if e.Type == spec.EventSynced {
				<-release
				happened(fmt.Sprint("policy ", e.Revision))
			}
		})
		synctest.Wait()
		set(2)
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		set(3)
		expect("resource 1, policy 1, policy 2, resource 2")
		time.Sleep(policyPatience)
		synctest.Wait()
		expect("resource 1, policy 1, policy 2, resource 2, resource 3")
		close(release)
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a watch ended with %v", err)
			}
		}
	})
}
