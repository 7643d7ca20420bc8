package engine

import (
	"testing"

	"github.com/docker/docker/api/types/container"
)

// An engine that continues a paused container calls it unhealthy until it has asked it again, and counts no failure.
func TestPausedIsNotUnwell(t *testing.T) {
	for _, c := range []struct {
		why    string
		state  container.State
		unwell bool
		status string
	}{
		{"no health check", container.State{Running: true, Status: "running"}, false, "running"},
		{"continued just now", healthState(container.Unhealthy, 0), false, "running"},
		{"its checks failed", healthState(container.Unhealthy, 3), true, "running, unhealthy"},
		{"one check failed", healthState(container.Healthy, 1), false, "running"},
	} {
		if got := unwell(&c.state); got != c.unwell {
			t.Errorf("%s: unwell %t, want %t", c.why, got, c.unwell)
		}
		if got := statusOf(&c.state); got != c.status {
			t.Errorf("%s: %q, want %q", c.why, got, c.status)
		}
	}
}

func healthState(status container.HealthStatus, failures int) container.State {
	return container.State{Running: true, Status: "running", Health: &container.Health{Status: status, FailingStreak: failures}}
}
