package mapper

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

func entries(id string, entry ...string) spec.Resource {
	return resource("Mapping", id, `{"mappings":[`+strings.Join(entry, ",")+`]}`)
}

func TestMapping(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(entries("m",
			`{"subscribe":[{"topic":"in/+line/#rest"}],"publish":{"topic":"out/{line}/$rest","qos":1,"retain":true}}`,
			`{"subscribe":[{"topic":"a","label":"x"},{"topic":"b","label":"y"}],"publish":{"topic":"both"},"rules":[{"collect":{}}]}`,
			`{"subscribe":[{"topic":"c"}],"publish":{"topic":"out/$missing"}}`,
			`{"subscribe":[{"topic":"d"}],"publish":{"topic":"e"},"rules":[{"transform":{"expression":"$error(\"bad\")"}}]}`,
		))
		pass(time.Second)
		check(t, "state", line(r.of("m").State, r.of("m").OnTarget), "enabled true")
		r.bus.send(t, "in/l1/x/y", "unread \xff")
		r.bus.send(t, "a", "1")
		pass(0)
		r.bus.send(t, "b", "9007199254740993")
		pass(0)
		check(t, "passed", r.bus.on("out/l1/x/y"), []string{"unread \xff"})
		check(t, "collected", r.bus.on("both"), []string{`{"x":1}`, `{"x":1,"y":9007199254740993}`})
		check(t, "counted", line(r.of("m").Messages, r.of("m").Dropped, r.of("m").OnTarget), "3 0 true")
		r.bus.send(t, "c", "1")
		pass(0)
		check(t, "unset variable", line(r.of("m").Dropped, r.of("m").OnTarget, r.of("m").Error), `1 false mapping entry 3 (topic c): the publish topic's variable "missing" is unset`)
		r.bus.send(t, "d", "1")
		pass(0)
		s := r.of("m")
		check(t, "failed rule", line(s.Dropped, s.Errors, s.LastError), "2 1 mapping entry 4 (topic d): rule 1 (transform) failed: "+strings.SplitN(s.LastError, "failed: ", 2)[1])
	})
}

// TestMappingLoop: a mapping that feeds itself neither stops the mapper nor the others.
func TestMappingLoop(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.bus.count = true
		r.bus.setRefuse(func(_ string, m Message) error {
			if m.Topic == "loop" { // slows the loop down to what a virtual clock can follow
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		r.watch.set(
			entries("loop", `{"subscribe":[{"topic":"loop"}],"publish":{"topic":"loop"}}`, `{"subscribe":[{"topic":"loop"}],"publish":{"topic":"loop"}}`),
			entries("other", `{"subscribe":[{"topic":"in"}],"publish":{"topic":"out"}}`))
		pass(time.Second)
		r.bus.send(t, "loop", "1")
		pass(5 * time.Second)
		r.bus.send(t, "in", "1")
		pass(2 * time.Second)
		r.bus.mu.Lock()
		check(t, "the other mapping", r.bus.counted["out"], 1)
		r.bus.mu.Unlock()
		s := r.of("loop")
		if !s.OnTarget || !strings.Contains(s.LastError, `(topic loop): this entry feeds itself: it subscribes to "loop"`) {
			t.Errorf("status of the loop: %v, %q", s.OnTarget, s.LastError)
		}
		check(t, "the other mapping's error", r.of("other").LastError, "")
		if s.Messages < 100 {
			t.Errorf("the loop made %d messages", r.of("loop").Messages)
		}
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestInputBuffering(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(resource("Mapping", "m", `{"mappings":[{"subscribe":[{"topic":"in"}],"publish":{"topic":"out"}}],"inputBuffering":{"enabled":true,"maxInputBufferSize":5}}`))
		pass(10 * time.Second)
		r.bus.setRefuse(func(_ string, m Message) error {
			if m.Topic == "out" {
				return spec.Errorf(spec.Unavailable, "no broker")
			}
			return nil
		})
		for n := range outboxLimit + 100 {
			r.bus.send(t, "in", fmt.Sprint(n))
		}
		pass(100 * time.Millisecond)
		r.bus.setRefuse(nil)
		pass(10 * time.Second)
		got := r.bus.on("out")
		if len(got)+int(r.of("m").Dropped) != outboxLimit+100 || got[len(got)-1] != fmt.Sprint(outboxLimit+99) {
			t.Errorf("%d messages from %s to %s, %d dropped", len(got), got[0], got[len(got)-1], r.of("m").Dropped)
		}
	})
}

func TestMappingOnExternalBroker(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), entries("m",
			`{"subscribe":[{"topic":"far/+what","connection":"plc"}],"publish":{"topic":"near/{what}"}}`,
			`{"subscribe":[{"topic":"near/up"}],"publish":{"topic":"far/up","connection":"plc","qos":1}}`,
		))
		pass(time.Second)
		r.machine.do(func() { go r.machine.listeners["far/+"](Message{Topic: "far/x", Payload: []byte("1")}) })
		r.bus.send(t, "near/up", "2")
		pass(0)
		check(t, "in", r.bus.on("near/x"), []string{"1"})
		check(t, "out", line(r.machine.published), "[{far/up [50] 1 false}]")
		r.machine.do(func() { r.machine.refuse = errors.New("no") })
		r.machine.lose(errors.New("EOF"))
		pass(0)
		check(t, "listeners", len(r.machine.listeners), 0)
		r.bus.send(t, "near/up", "3")
		pass(2 * time.Second)
		s := r.of("m")
		check(t, "without connection", line(s.State, s.OnTarget, s.Error), `failed false connection "plc" is connectFailed: no`)
		r.machine.do(func() { r.machine.refuse = nil })
		pass(20 * time.Second)
		check(t, "listeners again", len(r.machine.listeners), 1)
		check(t, "out again", line(r.machine.published), "[{far/up [50] 1 false} {far/up [51] 1 false}]")
		check(t, "told to end what is left of an earlier session, after all subscriptions", r.machine.resumed, []string{"0 1", "0 1"})
		check(t, "with connection", line(r.of("m").OnTarget, r.of("m").Dropped), "true 0")
	})
}

// TestEditedListener: what a far broker was told to be taken, while the subscription ends, still goes through.
func TestEditedListener(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		m := entries("m", `{"subscribe":[{"topic":"far","connection":"plc"}],"publish":{"topic":"near"},"rules":[{"parse":{"format":"json"}}]}`)
		r.watch.set(plc(), m)
		pass(time.Second)
		r.machine.do(func() {
			r.machine.parting = []Message{{Topic: "far", Payload: []byte("1")}, {Topic: "far", Payload: []byte("2")}}
		})
		r.watch.set(entries("m", `{"subscribe":[{"topic":"far2","connection":"plc"}],"publish":{"topic":"near"}}`))
		pass(time.Second)
		check(t, "published", r.bus.on("near"), []string{"1", "2"})
		check(t, "the new one", line(r.of("m").State, r.of("m").Starts, len(r.machine.listeners)), "enabled 2 1")
	})
}

// TestPendingIsNotOnTarget: a mapping is enabled when all its subscriptions stand, not when the first does.
func TestPendingIsNotOnTarget(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		hang := make(chan struct{})
		r.machine.do(func() { r.machine.hang = hang })
		r.watch.set(plc(), pushed("in"), polled("level", 60000),
			entries("m", `{"subscribe":[{"topic":"a"},{"topic":"b","connection":"plc"},{"topic":"c"}],"publish":{"topic":"out"}}`))
		pass(time.Second)
		for _, id := range []string{"in", "level", "m"} {
			check(t, id, line(r.of(id).State, r.of(id).OnTarget), "pending false")
		}
		close(hang)
		r.machine.do(func() { r.machine.hang = nil })
		pass(time.Second)
		for _, id := range []string{"in", "level", "m"} {
			check(t, id, line(r.of(id).State, r.of(id).OnTarget), "enabled true")
		}
	})
}

func TestReadOnlyMapping(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.stop()
		r.opts.ReadOnly = true
		r.run()
		r.watch.set(plc(), entries("m", `{"subscribe":[{"topic":"near/up"}],"publish":{"topic":"far/up","connection":"plc"}}`))
		pass(time.Second)
		r.bus.send(t, "near/up", "2")
		pass(0)
		check(t, "out", len(r.machine.published), 0)
		check(t, "status", line(r.of("m").Dropped, r.of("m").OnTarget), "1 false")
	})
}

// TestMappingToWriteEndpoint goes from a pushed value through a mapping to a machine.
func TestMappingToWriteEndpoint(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("in"), writer("out"), entries("m", `{"subscribe":[{"topic":"services/press/in"}],"publish":{"topic":"services/press/out/set"}}`))
		pass(time.Second)
		for n := range int64(20) {
			r.machine.push("in", Result{Time: time.UnixMilli(1), Value: n})
		}
		pass(time.Second)
		check(t, "writes", len(r.machine.writes), 20)
		check(t, "last", r.machine.writes[19], `out=19|{"timestamp":1,"value":19}`)
	})
}
