package control

import (
	"math"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// maxBuckets bounds a limiter's memory.
const maxBuckets = 10_000

// limiter lets each key fail burst times, and then once every interval.
type limiter struct {
	burst    float64
	interval time.Duration
	now      func() time.Time

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	failures float64
	at       time.Time
}

func newLimiter(burst int, interval time.Duration) *limiter {
	return &limiter{burst: float64(burst), interval: interval, now: time.Now, buckets: map[string]bucket{}}
}

// allowed reports whether the key may try again, and if not, after which wait.
func (l *limiter) allowed(key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := l.drained(key) - l.burst + 1
	if over <= 0 {
		return 0, true
	}
	return time.Duration(over * float64(l.interval)), false
}

// count notes a failure.
func (l *limiter) count(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buckets) >= maxBuckets {
		l.forgetSome()
	}
	l.buckets[key] = bucket{failures: l.drained(key) + 1, at: l.now()}
}

func (l *limiter) drained(key string) float64 {
	b, ok := l.buckets[key]
	if !ok {
		return 0
	}
	return math.Max(0, b.failures-float64(l.now().Sub(b.at))/float64(l.interval))
}

// forgetSome drops the keys that have nothing against them, else any: an attacker with ten
// thousand addresses is stopped by the queue of verifications.
func (l *limiter) forgetSome() {
	for key := range l.buckets {
		if l.drained(key) == 0 || len(l.buckets) >= maxBuckets {
			delete(l.buckets, key)
		}
	}
}

// busyError is an error of kind unavailable that says when to try again.
type busyError struct {
	cause *spec.Error
	after time.Duration
}

func (e *busyError) Error() string { return e.cause.Message }

func (e *busyError) Unwrap() error { return e.cause }

func busy(after time.Duration, why string) error {
	e := spec.Errorf(spec.Unavailable, "cannot do that now: %s", why)
	return &busyError{e.WithHint("try again in %d s", int(math.Ceil(after.Seconds()))), after}
}
