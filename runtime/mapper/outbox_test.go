package mapper

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// TestPoisonedMessage: a far broker that hangs up on one message gets it three times, then the others go on.
func TestPoisonedMessage(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.poison = "bad" })
		r.watch.set(plc(), entries("m", `{"subscribe":[{"topic":"near"}],"publish":{"topic":"far","connection":"plc","qos":1}}`),
			entries("other", `{"subscribe":[{"topic":"near2"}],"publish":{"topic":"far2","connection":"plc","qos":1}}`))
		pass(time.Second)
		r.bus.send(t, "near", "1")
		r.bus.send(t, "near", "bad")
		for n := range 60 {
			r.bus.send(t, "near2", fmt.Sprint(n))
			pass(time.Second)
		}
		s := r.of("m")
		check(t, "the mapping", line(s.OnTarget, s.Dropped, s.Messages), "false 1 1")
		if !strings.Contains(s.LastError, `cannot publish to "far"`) || !strings.Contains(s.LastError, "lost 3 times") {
			t.Errorf("last error: %s", s.LastError)
		}
		r.bus.send(t, "near", "2")
		pass(time.Second)
		check(t, "the mapping goes on", line(r.of("m").OnTarget, r.of("m").Messages), "true 2")
		check(t, "connects", r.of("plc").Connects, 4)
		s = r.of("other")
		check(t, "the other mapping", line(s.OnTarget, s.Dropped, s.Messages), "true 0 60")
	})
}

// TestPartialDelivery: what some have got already is not sent again.
func TestPartialDelivery(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp"))
		pass(10 * time.Second)
		tries := 0
		r.bus.setRefuse(func(string, Message) error {
			tries++
			return spec.Errorf(spec.Conflict, "one subscriber is full: %w", context.DeadlineExceeded)
		})
		r.machine.push("temp", Result{Value: int64(1)})
		pass(30 * time.Second)
		check(t, "tries and dropped", line(tries, r.of("temp").Dropped), "1 1")
	})
}

// TestStuckSink: what one sink does not take holds up no other endpoint of the poll group.
func TestStuckSink(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("stuck", 10), polled("free", 10))
		r.bus.count = true
		r.bus.setRefuse(func(_ string, m Message) error {
			if strings.HasSuffix(m.Topic, "stuck") {
				return spec.Errorf(spec.Unavailable, "no room")
			}
			return nil
		})
		pass(20*time.Second + time.Millisecond)
		check(t, "the free one", line(r.of("free").Messages, r.of("free").Skipped, r.of("free").Dropped), "2001 0 0")
		check(t, "the stuck one", r.of("stuck").Dropped, 2001-outboxLimit-1)
	})
}
