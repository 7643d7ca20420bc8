package mapper

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

func TestReports(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		pass(500 * time.Millisecond)
		r.watch.set(plc(), pushed("temp"), pushed("other"))
		pass(3 * time.Second)
		first := r.reported()
		check(t, "first", line(first[0].Agent, first[0].Full, first[0].Revision, len(first[0].Put)), "protocol-mapper true 0 0")
		check(t, "second", line(first[1].Full, first[1].Revision, len(first[1].Put)), "false 1 3")
		last := map[string]spec.ResourceStatus{}
		for i, s := range first {
			if i > 0 && s.Full {
				t.Errorf("report %d is full", i)
			}
			for _, p := range s.Put {
				last[p.ID] = p
			}
		}
		check(t, "settled", line(last["plc"].State, last["temp"].State, last["other"].OnTarget), "connected enabled true")

		before := len(r.reported())
		began := time.Now()
		pass(31 * time.Second)
		silent := r.reported()[before:]
		check(t, "signs of life", len(silent), 2)
		for _, s := range silent {
			check(t, "sign of life", line(s.Full, len(s.Put), len(s.Removed)), "false 0 0")
		}

		before = len(r.reported())
		r.watch.set(gone(pushed("other")))
		pass(0)
		news := r.reported()[before:]
		check(t, "a new revision, at once", len(news), 1)
		check(t, "removed", line(news[0].Revision, news[0].Removed), "2 [press::other]")

		before = len(r.reported())
		for range 100 {
			r.machine.push("temp", Result{Value: true})
			r.machine.push("temp", Result{Err: errors.New("bad")})
			pass(100 * time.Millisecond)
		}
		if n := len(r.reported()) - before; n < 8 || n > 11 {
			t.Errorf("%d reports in 10 s of changes (since %v)", n, time.Since(began))
		}
	})
}

func TestReportFailure(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc())
		pass(10 * time.Second)
		before := len(r.reported())
		r.mu.Lock()
		r.reject = errors.New("busy")
		r.mu.Unlock()
		r.watch.set(pushed("temp"))
		pass(5 * time.Second)
		r.mu.Lock()
		r.reject = nil
		r.mu.Unlock()
		pass(2 * time.Second)
		news := r.reported()[before:]
		check(t, "after the failure", line(len(news), news[0].Full, len(news[0].Put)), "1 true 2")
	})
}

// TestFirstReportAfterStart: with a copy on disk, nothing is reported before that is taken over.
func TestFirstReportAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m, err := New(r.opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.reportLoop(ctx, true)
		}()
		pass(time.Minute)
		check(t, "before", len(r.reported()), 0)
		wake(m.takeover)
		pass(0)
		check(t, "afterwards", len(r.reported()), 1)
		cancel()
		<-done
	})
}
