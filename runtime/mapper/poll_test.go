package mapper

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestPollGroups: equal schedules are read together, others apart, each in its own phase.
func TestPollGroups(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("a", 1000), polled("b", 1000), polled("c", 1500))
		pass(3200 * time.Millisecond)
		check(t, "reads", sorted(r.machine.reads), sorted([]string{
			"0s: a b", "0s: c", "1s: a b", "1.5s: c", "2s: a b", "3s: a b", "3s: c",
		}))
	})
}

// TestPollPhase: who comes is polled at once, who goes is gone, and the others' times stay.
func TestPollPhase(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("a", 1000))
		pass(1300 * time.Millisecond)
		r.watch.set(polled("b", 1000))
		pass(1000 * time.Millisecond)
		r.watch.set(gone(polled("a", 1000)))
		pass(1000 * time.Millisecond)
		check(t, "reads", r.machine.reads, []string{"0s: a", "1s: a", "1.3s: b", "2s: a b", "3s: b"})
	})
}

// TestLatePoll: a poll never overlaps its predecessor; those that came due meanwhile are skipped and counted.
func TestLatePoll(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("a", 1000))
		pass(500 * time.Millisecond)
		r.machine.do(func() { r.machine.delay = 2500 * time.Millisecond })
		pass(3200 * time.Millisecond) // the poll of 1 s takes until 3.5 s
		r.machine.do(func() { r.machine.delay = 0 })
		pass(2 * time.Second)
		check(t, "reads", r.machine.reads, []string{"0s: a", "1s: a", "4s: a", "5s: a"})
		check(t, "skipped", r.of("a").Skipped, 2)
		check(t, "values", len(r.bus.on("services/press/a")), 4)
	})
}

func TestCron(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) { // the bubble's clock begins at midnight UTC
		r.watch.set(plc(), point("five", "subscribe", `,"cron":"*/2 * * * *"`, nil), point("six", "subscribe", `,"cron":"30 * * * * *"`, nil))
		pass(time.Second)
		check(t, "before the first time", line(r.of("six").State, r.of("six").OnTarget), "enabled true")
		pass(4 * time.Minute)
		check(t, "reads", sorted(r.machine.reads), sorted([]string{"2m0s: five", "4m0s: five", "30s: six", "1m30s: six", "2m30s: six", "3m30s: six"}))
	})
}

// TestPollAfterReconnect: the link's loss is published once, and a new link is polled at once.
func TestPollAfterReconnect(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), polled("a", 60000))
		pass(time.Second)
		r.machine.lose(errors.New("EOF"))
		pass(3 * time.Second)
		check(t, "values", r.bus.values(t, "services/press/a"), []string{"null", `!connection "plc" is connectLost: EOF`, "null"})
	})
}

func TestOneBadPoll(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.bad["b"] = errors.New("illegal address") })
		r.watch.set(plc(), polled("a", 1000), polled("b", 1000))
		pass(2500 * time.Millisecond)
		check(t, "the good one", r.bus.values(t, "services/press/a"), []string{"null", "null", "null"})
		check(t, "the bad one", r.bus.values(t, "services/press/b"), []string{"!illegal address"})
		s := r.of("b")
		check(t, "status", line(s.State, s.OnTarget, s.Error, s.Errors), "failed false illegal address 3")
	})
}

func sorted(list []string) string {
	return strings.Join(sortedKeys(set(list)), ", ")
}

func set(list []string) map[string]bool {
	all := map[string]bool{}
	for _, x := range list {
		all[x] = true
	}
	return all
}
