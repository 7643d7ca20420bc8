package mapper

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
)

// pauses are growing delays with a tenth of jitter, so that a thousand clients of one
// machine do not come back in step.
type pauses struct {
	first, last time.Duration
	factor      float64
	now         time.Duration
}

// strategyPauses takes the specification's defaults where a strategy is not complete.
func strategyPauses(s commissioning.Strategy) pauses {
	if s.InitialDelay <= 0 {
		s.InitialDelay = 1000
	}
	if s.MaxDelay <= 0 {
		s.MaxDelay = 30000
	}
	if s.IncrementFactor < 1 {
		s.IncrementFactor = 2
	}
	first := time.Duration(s.InitialDelay) * time.Millisecond
	return pauses{first: first, last: max(time.Duration(s.MaxDelay)*time.Millisecond, first), factor: s.IncrementFactor}
}

// next returns how long to wait before the next attempt.
func (p *pauses) next() time.Duration {
	p.now = min(max(p.now, p.first), p.last)
	d := p.now
	p.now = min(time.Duration(float64(p.now)*p.factor), p.last)
	return d - d/10 + rand.N(d/5+1)
}

func (p *pauses) reset() { p.now = 0 }

// sleep waits for d or until ctx ends, and reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
