package credential

import (
	"crypto/sha256"
	"math"
	"sync"
	"time"
)

// maxBuckets bounds a Limiter's memory: about 100 bytes each, however long the keys are.
const maxBuckets = 10_000

// Limiter lets each key fail burst times, and then once every interval. It is safe for use
// from several goroutines.
type Limiter struct {
	burst    float64
	interval time.Duration

	mu      sync.Mutex
	buckets map[[sha256.Size]byte]bucket
}

type bucket struct {
	failures float64
	at       time.Time
}

// NewLimiter returns a Limiter that has nothing against anybody.
func NewLimiter(burst int, interval time.Duration) *Limiter {
	return &Limiter{burst: float64(burst), interval: interval, buckets: map[[sha256.Size]byte]bucket{}}
}

// Allowed reports whether the key may try again, and if not, after which wait.
func (l *Limiter) Allowed(key string) (wait time.Duration, ok bool) { return l.allowedBeside(key, 0) }

// allowedBeside is Allowed while others, which may fail yet, are under way.
func (l *Limiter) allowedBeside(key string, others int) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := l.drained(sha256.Sum256([]byte(key))) + float64(others) - l.burst + 1
	if over <= 0 {
		return 0, true
	}
	return time.Duration(over * float64(l.interval)), false
}

// Count notes a failure.
func (l *Limiter) Count(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hashed := sha256.Sum256([]byte(key))
	if _, there := l.buckets[hashed]; !there && len(l.buckets) >= maxBuckets {
		l.forgetSome()
	}
	l.buckets[hashed] = bucket{failures: l.drained(hashed) + 1, at: time.Now()}
}

func (l *Limiter) drained(key [sha256.Size]byte) float64 {
	b, ok := l.buckets[key]
	if !ok {
		return 0
	}
	return math.Max(0, b.failures-float64(time.Since(b.at))/float64(l.interval))
}

// forgetSome drops the keys that have nothing against them, else any: an attacker with ten
// thousand addresses is stopped by the queue of verifications.
func (l *Limiter) forgetSome() {
	for key := range l.buckets {
		if l.drained(key) == 0 || len(l.buckets) >= maxBuckets {
			delete(l.buckets, key)
		}
	}
}
