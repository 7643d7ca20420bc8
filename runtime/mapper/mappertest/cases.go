package mappertest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

// testCase is one behaviour; skip says why a protocol has nothing to show ("" runs it).
type testCase struct {
	name string
	skip func(Harness) string
	run  func(*testing.T, *bench)
}

func cases() []testCase {
	return []testCase{
		{"Dial", always, testDial},
		{"CloseTwice", always, testCloseTwice},
		{"InvalidAddress", always, testInvalidAddress},
		{"Refused", always, testRefused},
		{"CancelDial", always, testCancelDial},
		{"GarbageDial", always, testGarbageDial},
		{"Schedule", always, testSchedule},
		{"ReadOrder", needsRead, testReadOrder},
		{"ReadNothing", needsRead, testReadNothing},
		{"ReadConcurrently", needsRead, testReadConcurrently},
		{"BadAmongGood", needsBadRead, testBadAmongGood},
		{"CancelRead", needsRead, testCancelRead},
		{"CloseWhileReading", needsRead, testCloseWhileReading},
		{"SlowMachine", always, testSlowMachine},
		{"HangingMachine", always, testHangingMachine},
		{"GarbageAnswers", needsRead, func(t *testing.T, b *bench) { testBrokenAnswers(t, b, Garbage) }},
		{"ChoppedAnswers", needsRead, func(t *testing.T, b *bench) { testBrokenAnswers(t, b, Chop) }},
		{"Cut", always, testCut},
		{"Restart", always, testRestart},
		{"Push", needsPush, testPush},
		{"PushAgain", needsPush, testPushAgain},
		{"BadPush", needsBadPush, testBadPush},
		{"Unsubscribe", needsPush, testUnsubscribe},
		{"Write", needsWrite, testWrite},
		{"AfterClose", always, testAfterClose},
	}
}

func always(Harness) string { return "" }

func needs(have bool, what string) string {
	if have {
		return ""
	}
	return "the protocol has no " + what
}

func needsRead(h Harness) string  { return needs(len(h.Read) > 0, "read") }
func needsPush(h Harness) string  { return needs(h.Pushed != "", "push") }
func needsWrite(h Harness) string { return needs(h.Write != "", "write") }
func needsBadRead(h Harness) string {
	return needs(len(h.Read) > 0 && h.Bad != "", "point that a machine refuses to read")
}

func needsBadPush(h Harness) string {
	return needs(h.Pushed != "" && h.Bad != "", "point that a machine refuses to push")
}

func testDial(t *testing.T, b *bench) {
	s := b.dial(t)
	select {
	case <-s.Done():
		t.Fatalf("Done is closed after Dial: %v", s.Err())
	default:
	}
	if err := s.Err(); err != nil {
		t.Errorf("Err of an open session = %v", err)
	}
	b.checkWorks(t, s)
}

func testCloseTwice(t *testing.T, b *bench) {
	s := b.dial(t)
	within(t, prompt, "closing four times", func() {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { s.Close() }) //nolint:errcheck // the last call's answer counts
		}
		all.Wait()
		if err := s.Close(); err != nil {
			t.Errorf("closing a closed session: %v", err)
		}
		<-s.Done()
	})
	if err := s.Err(); err != nil {
		t.Errorf("Err after Close = %v", err)
	}
}

func testInvalidAddress(t *testing.T, b *bench) {
	for _, address := range []string{b.Invalid, `{}`, `[]`, `null`, `{`, ``} {
		if _, err := b.connector.Point(mapper.OpSubscribe, json.RawMessage(address)); err == nil {
			t.Errorf("address %q is accepted", address)
		}
	}
}

func testRefused(t *testing.T, b *bench) {
	b.proxy.Close()
	within(t, prompt, "dialling a closed port", func() {
		if s, err := b.connector.Dial(t.Context()); err == nil {
			s.Close() //nolint:errcheck // the test has failed
			t.Error("dialling a closed port succeeds")
		}
	})
}

func testCancelDial(t *testing.T, b *bench) {
	b.proxy.Set(Hang)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	within(t, prompt, "a cancelled Dial", func() {
		s, err := b.connector.Dial(ctx)
		if err == nil { // a protocol without a log-in is connected by then
			s.Close() //nolint:errcheck // a hanging machine may be complained about
		}
		<-ctx.Done()
	})
	within(t, prompt, "Dial with a context that has ended", func() {
		s, err := b.connector.Dial(ctx)
		if err == nil {
			s.Close() //nolint:errcheck // the test has failed
			t.Error("Dial succeeds though its context had ended")
		}
	})
}

func testGarbageDial(t *testing.T, b *bench) {
	b.proxy.Set(Garbage)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	within(t, prompt, "dialling a machine that answers noise", func() {
		s, err := b.connector.Dial(ctx)
		if err == nil {
			s.Close() //nolint:errcheck // noise may be complained about
		}
	})
	b.proxy.Set(Pass)
	b.checkWorks(t, b.redial(t))
}

func testSchedule(t *testing.T, b *bench) {
	if b.Polled != "" && b.point(t, mapper.OpSubscribe, b.Polled).Schedule() == (mapper.Schedule{}) {
		t.Errorf("%s has no schedule", b.Polled)
	}
	if b.Pushed != "" && b.point(t, mapper.OpSubscribe, b.Pushed).Schedule() != (mapper.Schedule{}) {
		t.Errorf("%s has a schedule", b.Pushed)
	}
}

func testSlowMachine(t *testing.T, b *bench) {
	b.proxy.Set(Slow)
	b.checkWorks(t, b.dial(t))
}

func testHangingMachine(t *testing.T, b *bench) {
	s := b.dial(t)
	b.proxy.Set(Hang)
	within(t, prompt, "closing a session with a hanging machine", func() {
		s.Close() //nolint:errcheck // it may complain about the machine
		<-s.Done()
	})
}

func testCut(t *testing.T, b *bench) {
	s := b.dial(t)
	b.checkWorks(t, s)
	b.proxy.Cut()
	b.lose(t, s)
	within(t, prompt, "closing a lost session", func() { s.Close() }) //nolint:errcheck // it is lost
	b.checkWorks(t, b.redial(t))
}

func testRestart(t *testing.T, b *bench) {
	s := b.dial(t)
	b.checkWorks(t, s)
	addr := b.machine.Addr()
	b.machine.Close()
	b.lose(t, s)
	s.Close() //nolint:errcheck // it is lost
	b.machine = b.Start(t, addr)
	b.checkWorks(t, b.redial(t))
}

// testAfterClose uses a closed session: errors, no panic.
func testAfterClose(t *testing.T, b *bench) {
	s := b.dial(t)
	s.Close() //nolint:errcheck // testCloseTwice looks at it
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	within(t, prompt, "using a closed session", func() {
		for i, r := range s.Read(ctx, b.readPoints(t)) {
			if r.Err == nil {
				t.Errorf("read %d of a closed session succeeds", i)
			}
		}
		if b.Write != "" {
			if r := s.Write(ctx, b.point(t, mapper.OpWrite, b.Write), b.payload(1)); r.Err == nil {
				t.Error("a write to a closed session succeeds")
			}
		}
		if b.Pushed != "" {
			sub := mapper.Subscription{ID: "late", Point: b.point(t, mapper.OpSubscribe, b.Pushed), Deliver: func(mapper.Result) {}}
			if errs := s.Subscribe(ctx, []mapper.Subscription{sub}); len(errs) != 1 || errs[0] == nil {
				t.Errorf("subscribing on a closed session: %v", errs)
			}
		}
	})
}
