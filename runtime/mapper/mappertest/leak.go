package mappertest

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// prompt bounds calls that must not wait for a machine. It is far below every protocol's
	// time-out and far above what a busy test machine needs.
	prompt = 5 * time.Second
	// patience bounds what may take its time.
	patience = 30 * time.Second
)

// goroutines returns the stacks of all goroutines by their id line's number.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	found := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		found[id] = stack
	}
	return found
}

// checkLeaks waits until every goroutine that was started since before has ended.
func checkLeaks(t *testing.T, h Harness, before map[string]string) {
	t.Helper()
	var left []string
	if eventually(patience, func() bool {
		left = nil
		for id, stack := range goroutines() {
			if _, old := before[id]; !old && !harmless(h, stack) {
				left = append(left, stack)
			}
		}
		return len(left) == 0
	}) {
		return
	}
	t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
}

func harmless(h Harness, stack string) bool {
	return strings.Contains(stack, "testing.tRunner") || strings.Contains(stack, "mappertest.goroutines") ||
		strings.Contains(stack, "os/signal") || h.Ignore != nil && h.Ignore(stack)
}

// eventually polls until ok or the time is over, and returns ok's last answer.
func eventually(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-end:
			return ok()
		}
	}
}

// within runs f and fails the test if it does not return in time.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		var stacks []string
		for _, stack := range goroutines() {
			stacks = append(stacks, stack)
		}
		t.Fatalf("%s did not return within %v; all goroutines:\n%s", what, limit, strings.Join(stacks, "\n\n"))
	}
}
