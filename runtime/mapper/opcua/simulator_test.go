package opcua

import (
	"strings"
	"testing"

	"github.com/millwright/millwright/runtime/mapper"
)

// TestPress uses everything that the simulated press has.
func TestPress(t *testing.T) {
	t.Parallel()
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	c := connect(t, p.Addr(), nil)
	s := dial(t, c)
	defer s.Close()
	read := func(name string) any {
		t.Helper()
		r := s.Read(t.Context(), []mapper.Point{pointOf(t, c, mapper.OpRead, `{"nodeId":"ns=2;s=Press.`+name+`"}`)})[0]
		if r.Err != nil {
			t.Fatalf("%s: %v", name, r.Err)
		}
		return r.Value
	}
	if v, ok := read("Temperature").(float64); !ok || v < 150 || v > 200 {
		t.Errorf("the temperature is %v", v)
	}
	if v, ok := read("Total").(int64); !ok || v <= 1<<53 {
		t.Errorf("the total is %v", v)
	}
	if v, ok := read("Profile").([]any); !ok || len(v) != 8 {
		t.Errorf("the profile is %v", v)
	}
	if v, ok := read("State").(string); !ok || v == "" {
		t.Errorf("the state is %q", v)
	}
	if _, ok := read("Running").(bool); !ok {
		t.Error("running is no boolean")
	}
	counter := subscribe(t, c, s, "counter", `{"nodeId":"ns=2;s=Press.Counter","publishInterval":100}`)
	counter.wait(t, 3)
	reset := pointOf(t, c, mapper.OpWrite, `{"browsePath":"/Objects/2:Press/2:Reset","nodeType":"Method"}`)
	r := s.Write(t.Context(), reset, mapper.Payload{})
	if n, ok := r.Value.(int64); !ok || n < 2 || r.Err != nil {
		t.Errorf("reset gives %v, %v", r.Value, r.Err)
	}
	if n, ok := read("Counter").(int64); !ok || n >= r.Value.(int64) {
		t.Errorf("after the reset the counter is %v", n)
	}
	for _, name := range []string{"Counter", "Nonsense"} {
		target := pointOf(t, c, mapper.OpWrite, `{"nodeId":"ns=2;s=Press.`+name+`"}`)
		if r := s.Write(t.Context(), target, payload(t, `5`)); r.Err == nil {
			t.Errorf("%s can be written", name)
		}
	}
}

// TestSubscriptionsComeAndGo deletes one of the server's subscriptions among others, and makes a
// further one: none disturbs another.
func TestSubscriptionsComeAndGo(t *testing.T) {
	t.Parallel()
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	c := connect(t, p.Addr(), nil)
	s := dial(t, c)
	defer s.Close()
	first := subscribe(t, c, s, "first", `{"nodeId":"ns=2;s=Press.Total","publishInterval":100,"samplingInterval":0,"queueSize":100}`)
	second := subscribe(t, c, s, "second", `{"nodeId":"ns=2;s=Press.Total","publishInterval":150,"samplingInterval":0,"queueSize":100}`)
	first.wait(t, 2)
	if err := s.Unsubscribe(t.Context(), []string{"first", "unknown"}); err != nil {
		t.Fatal(err)
	}
	third := subscribe(t, c, s, "third", `{"nodeId":"ns=2;s=Press.Total","publishInterval":200,"samplingInterval":0,"queueSize":100}`)
	gone := len(first.all())
	for _, in := range []*inbox{second, third} {
		at := len(in.all())
		all := in.wait(t, at+5)
		for i := 1; i < len(all); i++ {
			if all[i].Value != all[i-1].Value.(int64)+1 {
				t.Errorf("%v follows %v: a value is missing", all[i].Value, all[i-1].Value)
			}
		}
	}
	if got := len(first.all()); got != gone {
		t.Errorf("%d values came after Unsubscribe", got-gone)
	}
	err := s.Subscribe(t.Context(), []mapper.Subscription{{
		ID: "events", Point: pointOf(t, c, mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["Message"]}`), Deliver: third.deliver,
	}})[0]
	if err == nil || !strings.Contains(err.Error(), "cannot subscribe to events") {
		t.Errorf("events of a server that has none: %v", err)
	}
	err = s.Subscribe(t.Context(), []mapper.Subscription{{
		ID: "third", Point: pointOf(t, c, mapper.OpSubscribe, `{"nodeId":"ns=2;s=Press.Total"}`), Deliver: third.deliver,
	}})[0]
	if err == nil {
		t.Error("one id is subscribed twice")
	}
}
