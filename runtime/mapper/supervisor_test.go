package mapper

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

func TestPushedValuesArrive(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp", `"qos":1,"retain":true`))
		pass(time.Second)
		check(t, "state before a value", r.of("temp").State, spec.StateEnabled)
		at := time.UnixMilli(1700000000123)
		r.machine.push("temp", Result{Time: at, Value: int64(9007199254740993)})
		r.machine.push("temp", Result{Time: at, Raw: []byte("raw \xff")})
		pass(0)
		check(t, "messages", r.bus.on("services/press/temp"), []string{`{"timestamp":1700000000123,"value":9007199254740993}`, "raw \xff"})
		r.bus.mu.Lock()
		m := r.bus.messages[0]
		r.bus.mu.Unlock()
		check(t, "flags", fmt.Sprint(m.QoS, m.Retain), "1 true")
		s := r.of("temp")
		check(t, "status", line(s.State, s.OnTarget, s.Messages, s.Starts, s.LastValueAt.IsZero(), s.Topic), "enabled true 2 1 false services/press/temp")
		check(t, "connection", line(r.of("plc").State, r.of("plc").OnTarget, r.of("plc").Connects), "connected true 1")
	})
}

// TestEditOneOfAThousand is the promise of the design: one endpoint restarts, nothing else is touched.
func TestEditOneOfAThousand(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		all := []spec.Resource{plc()}
		for i := range 1000 {
			all = append(all, pushed(fmt.Sprint("e", i)))
		}
		r.watch.set(all...)
		pass(time.Second)
		check(t, "subscribe calls", len(r.machine.subscribes), 1)
		for n := range 3 {
			for i := range 1000 {
				r.machine.push(fmt.Sprint("e", i), Result{Value: int64(n)})
			}
			if n == 1 { // without waiting for anything
				r.watch.set(pushed("e500", `"qos":1`))
			}
		}
		pass(time.Second)
		status := map[string]spec.ResourceStatus{}
		for _, s := range r.Status() {
			status[s.ID] = s
		}
		for i := range 1000 {
			id := fmt.Sprint("e", i)
			starts, want := uint64(1), 3
			if i == 500 {
				starts = 2
			}
			if s := status[id]; s.Starts != starts {
				t.Errorf("%s was started %d times", id, s.Starts)
			}
			if got := status[id].Messages; i != 500 && got != uint64(want) {
				t.Errorf("%s: %d messages", id, got)
			}
		}
		check(t, "connects and dials", fmt.Sprint(r.of("plc").Connects, r.of("plc").Starts, r.machine.dials), "1 1 1")
		check(t, "unsubscribed", r.machine.unsubs, 1)
		r.machine.push("e500", Result{Value: int64(9)})
		pass(0)
		check(t, "the edited endpoint's last value", r.bus.values(t, "services/press/e500")[len(r.bus.on("services/press/e500"))-1], "9")
	})
}

func TestEditedConnectionRestartsItsEndpoints(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		other := resource("Connection", "other", `{"protocol":"fake","connection":{}}`)
		r.watch.set(plc(), other, pushed("temp"), pushed("side", `"connection":"other"`))
		pass(time.Second)
		edited := plc()
		edited.Properties = []byte(strings.Replace(string(edited.Properties), `"h"`, `"h2"`, 1))
		r.watch.set(edited)
		pass(time.Second)
		for id, starts := range map[string]uint64{"plc": 2, "temp": 2, "other": 1, "side": 1} {
			check(t, "starts of "+id, r.of(id).Starts, starts)
		}
		restarted := edited
		restarted.Generation = 1
		r.watch.set(restarted)
		pass(time.Second)
		check(t, "starts after another generation", r.of("plc").Starts, 3)
		check(t, "state", r.of("temp").State, spec.StateEnabled)
		r.watch.set(gone(edited))
		pass(time.Second)
		s := r.of("temp")
		check(t, "without its connection", line(s.State, s.OnTarget, s.Error), `failed false connection "plc" does not exist`)
		r.watch.set(plc())
		pass(time.Second)
		check(t, "with its connection again", r.of("temp").State, spec.StateEnabled)
	})
}

func TestLostConnection(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp"), pushed("silent"), polled("level", 1000))
		r.machine.do(func() { r.machine.values["level"] = Result{Value: int64(5)} })
		pass(100 * time.Millisecond)
		r.machine.push("temp", Result{Value: int64(1)})
		pass(0)
		r.machine.do(func() { r.machine.refuse = errors.New("connection refused") })
		r.machine.lose(errors.New("reset by peer"))
		pass(100 * time.Millisecond)
		lost := `!connection "plc" is connectLost: reset by peer`
		check(t, "pushed values", r.bus.values(t, "services/press/temp"), []string{"1", lost})
		check(t, "never delivered", r.bus.values(t, "services/press/silent"), []string(nil))
		check(t, "polled values", r.bus.values(t, "services/press/level"), []string{"5", lost})
		check(t, "state", r.of("plc").State, string(spec.StateConnectLost))
		pass(2 * time.Second)
		s := r.of("temp")
		check(t, "endpoint", line(s.State, s.OnTarget, s.Error), `failed false connection "plc" is connectFailed: connection refused`)
		c := r.of("plc")
		check(t, "connection", line(c.State, c.OnTarget, c.Error), `connectFailed false connection refused`)
		r.machine.do(func() { r.machine.refuse = nil })
		pass(9 * time.Second)
		r.machine.push("temp", Result{Value: int64(2)})
		pass(0)
		check(t, "pushed values at the end", r.bus.values(t, "services/press/temp"), []string{"1", lost, "2"})
		s, c = r.of("temp"), r.of("plc")
		check(t, "endpoint at the end", line(s.State, s.OnTarget, s.Error, s.Starts), "enabled true  1")
		check(t, "connection at the end", line(c.State, c.Error, c.LastError, c.Connects), "connected  connection refused 2")
	})
}

func TestBackOffGrows(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.refuse = errors.New("no") })
		r.watch.set(plc())
		pass(60 * time.Second) // 1, 2, 4, 8, 8, ... seconds between attempts
		if d := r.machine.dials; d < 9 || d > 11 {
			t.Errorf("%d attempts in a minute", d)
		}
	})
}

func TestBadValues(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp", `"rules":[{"transform":{"expression":"{\"value\": value * 2}"}}]`))
		pass(time.Second)
		bad := Result{Err: errors.New("BadNotConnected")}
		for _, x := range []Result{{Value: int64(1)}, bad, bad, {Value: int64(2)}, {Value: int64(3)}, bad} {
			r.machine.push("temp", x)
		}
		pass(0)
		check(t, "values", r.bus.values(t, "services/press/temp"), []string{"2", "!BadNotConnected", "4", "6", "!BadNotConnected"})
		s := r.of("temp")
		check(t, "status", line(s.State, s.OnTarget, s.Error, s.Errors, s.Messages), "failed false BadNotConnected 3 5")
	})
}

func TestRefusedSubscriptionIsTriedAgain(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.bad["odd"] = errors.New("BadNodeIdUnknown") })
		r.watch.set(plc(), pushed("temp"), pushed("odd"))
		pass(100 * time.Millisecond)
		check(t, "the good one", r.of("temp").OnTarget, true)
		s := r.of("odd")
		check(t, "the bad one", fmt.Sprint(s.State, " ", s.Error), "failed cannot subscribe: BadNodeIdUnknown")
		r.machine.do(func() { delete(r.machine.bad, "odd") })
		pass(5 * time.Second)
		check(t, "the bad one, mended", r.of("odd").OnTarget, true)
		r.machine.push("odd", Result{Value: true})
		pass(0)
		check(t, "values of the bad one", r.bus.values(t, "services/press/odd"), []string{"!cannot subscribe: BadNodeIdUnknown", "true"})
		check(t, "calls", r.machine.subscribes[:2], []string{"odd temp", "odd"})
	})
}

func TestHangingDriver(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		hang := make(chan struct{})
		defer close(hang)
		r.machine.do(func() { r.machine.hang = hang })
		r.watch.set(plc(), polled("temp", 1000))
		pass(40 * time.Second)
		check(t, "state", r.of("plc").OnTarget, false)
		if err := r.of("plc").Error; !strings.Contains(err, "no answer within 30s") {
			t.Errorf("error: %s", err)
		}
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if r.Abandoned() == 0 {
			t.Error("nothing was counted as abandoned")
		}
	})
}

func TestHangingSessionIsAbandoned(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("temp", 1000))
		pass(100 * time.Millisecond)
		hang := make(chan struct{})
		defer close(hang)
		r.machine.do(func() { r.machine.hang = hang })
		pass(5 * time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestPanickingDriver(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.panics = true })
		r.watch.set(plc(), polled("temp", 1000))
		pass(500 * time.Millisecond)
		check(t, "after a panic in Dial", r.of("plc").Error, "the driver panicked: dial")
		r.machine.do(func() { r.machine.panics = false })
		pass(5 * time.Second)
		check(t, "mended", r.of("temp").OnTarget, true)
		r.machine.do(func() { r.machine.panics = true })
		pass(1100 * time.Millisecond)
		r.machine.do(func() { r.machine.panics = false })
		check(t, "after a panic in Read", r.of("plc").LastError, "the driver panicked: read")
		pass(10 * time.Second)
		check(t, "mended again", r.of("temp").OnTarget, true)
	})
}

func TestWhatCannotRun(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(),
			resource("Connection", "alien", `{"protocol":"Focas","connection":{}}`),
			resource("Connection", "odd", `{"protocol":"Fake","connection":{"impossible":true}}`),
			resource("Connection", "idle", `{"protocol":"Fake","connection":{},"targetState":"disconnected"}`),
			resource("Endpoint", "alienPoint", `{"protocol":"Focas","connection":"alien","subscribe":{"name":"x"},"topic":"a"}`),
			resource("Endpoint", "oddPoint", `{"protocol":"Fake","connection":"odd","subscribe":{"name":"x"},"topic":"a"}`),
			resource("Endpoint", "idlePoint", `{"protocol":"Fake","connection":"idle","subscribe":{"name":"x"},"topic":"a"}`),
			resource("Endpoint", "nameless", `{"protocol":"Fake","connection":"plc","subscribe":{"name":""},"topic":"a"}`),
			resource("Endpoint", "badCron", `{"protocol":"Fake","connection":"plc","subscribe":{"name":"x","cron":"0 0 30 2 *"},"topic":"a"}`),
			resource("Endpoint", "broken", `{`),
			resource("Container", "box", `{}`),
			pushed("off", `"targetState":"disabled"`),
			pushed("badRule", `"rules":[{"transform":{"expression":"(("}}]`),
		)
		pass(time.Second)
		for id, want := range map[string]string{
			"alien":      "unsupported false this build has no driver for protocol Focas",
			"alienPoint": "unsupported false this build has no driver for protocol Focas",
			"odd":        "failed false the properties are impossible",
			"oddPoint":   `failed false connection "odd" is failed: the properties are impossible`,
			"idle":       "disconnected true ",
			"idlePoint":  `failed false connection "idle" is disconnected`,
			"nameless":   "failed false the address has no name",
			"badCron":    `failed false cannot use cron expression "0 0 30 2 *": it names a time that never comes`,
			"box":        "unsupported false this build cannot run resources of type Container",
			"off":        "disabled true ",
		} {
			s := r.of(id)
			check(t, id, line(s.State, s.OnTarget, s.Error), want)
		}
		check(t, "broken", r.of("broken").State, spec.StateFailed)
		check(t, "badRule", r.of("badRule").State, spec.StateFailed)
	})
}

func TestUnavailableBus(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp"), pushed("forbidden"))
		pass(10 * time.Second)
		r.bus.setRefuse(func(_ string, m Message) error {
			if strings.HasSuffix(m.Topic, "forbidden") {
				return spec.Errorf(spec.Forbidden, "not allowed")
			}
			return spec.Errorf(spec.Unavailable, "no broker")
		})
		for n := range int64(5) {
			r.machine.push("temp", Result{Value: n})
			r.machine.push("forbidden", Result{Value: n})
		}
		pass(time.Second)
		s := r.of("temp")
		check(t, "while unavailable", fmt.Sprint(s.Dropped, " ", s.Error), `0 cannot publish to "services/press/temp": no broker`)
		s = r.of("forbidden")
		check(t, "while forbidden", fmt.Sprint(s.Dropped, " ", s.Error), `5 cannot publish to "services/press/forbidden": not allowed`)
		r.bus.setRefuse(nil)
		pass(10 * time.Second)
		check(t, "afterwards", r.bus.values(t, "services/press/temp"), []string{"0", "1", "2", "3", "4"})
		check(t, "error", r.of("temp").Error, "")
	})
}

// TestFullOutbox: an endpoint never waits for its outbox; the newest are kept and the rest is counted.
func TestFullOutbox(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp"))
		pass(10 * time.Second)
		r.bus.setRefuse(func(string, Message) error { return spec.Errorf(spec.Unavailable, "no broker") })
		began := time.Now()
		for n := range int64(outboxLimit + 101) { // one is on its way
			r.machine.push("temp", Result{Value: n})
			if n == 0 {
				pass(0)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("pushing to a full outbox took %v", took)
		}
		pass(0)
		check(t, "dropped", r.of("temp").Dropped, 100)
		r.bus.setRefuse(nil)
		pass(10 * time.Second)
		got := r.bus.values(t, "services/press/temp")
		check(t, "first and last", line(len(got), got[0], got[1], got[len(got)-1]), "1001 0 101 1100")
	})
}

// TestLatePolicy: the broker learns of a new service a moment after the mapper.
func TestLatePolicy(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.bus.setRefuse(func(string, Message) error { return spec.Errorf(spec.Forbidden, "not allowed") })
		r.bus.setDeny(func(string) error { return spec.Errorf(spec.Forbidden, "not allowed") })
		r.watch.set(plc(), polled("temp", 60000), writer("set"))
		pass(time.Second)
		check(t, "writer", fmt.Sprint(r.of("set").State), "failed")
		r.bus.setRefuse(nil)
		r.bus.setDeny(nil)
		pass(5 * time.Second)
		check(t, "messages", r.bus.values(t, "services/press/temp"), []string{"null"})
		check(t, "dropped", r.of("temp").Dropped, 0)
		check(t, "writer", line(r.of("set").State, r.of("set").OnTarget), "enabled true")
	})
}
