package credential

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// rememberedPairs bounds a Verifier's memory: about 100 bytes each.
	rememberedPairs = 16384
	// queuePerCore bounds those who wait for a verification: about one second's worth.
	queuePerCore = 32
)

// Verifier compares secrets with hashes in constant time. A pair that was verified is
// remembered (HMAC under a key of the process); argon2id verifications run on half of the
// cores at most, others queue, and a full queue answers with an error of kind spec.Unavailable.
// A changed password has another hash and so misses the memory by itself. It is safe for
// use from several goroutines.
type Verifier struct {
	key     [32]byte
	known   *memory
	cores   chan struct{} // holds one element for each verification that runs
	waiting atomic.Int64  // verifications that run or queue
	most    int64         // of waiting
	flights singleflight.Group
	nobody  string // a hash that no secret belongs to
}

// NewVerifier returns a Verifier with its own memory.
func NewVerifier() *Verifier {
	cores := max(1, runtime.GOMAXPROCS(0)/2) // the others serve those who are logged in
	return newVerifier(cores, queuePerCore*cores)
}

func newVerifier(cores, queue int) *Verifier {
	v := &Verifier{
		known: newMemory(rememberedPairs),
		cores: make(chan struct{}, cores),
		most:  int64(cores + queue),
	}
	rand.Read(v.key[:])
	h := argonHash{
		memory: argonMemory, passes: argonPasses, lanes: argonLanes,
		salt: make([]byte, argonSaltBytes), sum: make([]byte, argonSumBytes),
	}
	rand.Read(h.salt)
	rand.Read(h.sum)
	v.nobody = h.String()
	return v
}

// Verify reports whether secret belongs to hash. The error is not nil only when the answer
// could not be had (busy, ctx ended, malformed hash). Equal questions at the same time are
// answered by one verification.
func (v *Verifier) Verify(ctx context.Context, hash, secret string) (bool, error) {
	h, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	if len(secret) > MaxSecret {
		return false, nil
	}
	if !h.slow() {
		return h.matches(secret), nil
	}
	pair := v.pair(hash, secret)
	if v.known.has(pair) {
		return true, nil
	}
	if err := ctx.Err(); err != nil {
		return false, ended(err)
	}
	answer := v.flights.DoChan(string(pair[:]), func() (any, error) { return v.slowly(h, pair, strings.Clone(secret)) })
	select {
	case r := <-answer:
		ok, _ := r.Val.(bool)
		return ok, r.Err
	case <-ctx.Done():
		return false, ended(ctx.Err())
	}
}

// VerifyNobody takes as long as Verify with a wrong password. A log-in under a name that does
// not exist calls it, so that time does not tell which names exist.
func (v *Verifier) VerifyNobody(ctx context.Context, secret string) error {
	_, err := v.Verify(ctx, v.nobody, secret)
	return err
}

// knows reports whether secret is known to belong to hash without work that takes a core for
// long: it was verified before, or the hash is a cheap one.
func (v *Verifier) knows(hash, secret string) (bool, error) {
	h, err := parseHash(hash)
	switch {
	case err != nil:
		return false, err
	case len(secret) > MaxSecret:
		return false, nil
	case !h.slow():
		return h.matches(secret), nil
	}
	return v.known.has(v.pair(hash, secret)), nil
}

// slowly waits for a core and verifies. It is not bound to a caller's context, since several
// callers may wait for its answer; the bounded queue bounds how long it takes.
func (v *Verifier) slowly(h hash, pair [32]byte, secret string) (bool, error) {
	if v.waiting.Add(1) > v.most {
		v.waiting.Add(-1)
		return false, spec.Errorf(spec.Unavailable, "cannot verify the password: busy with %d others", v.most).
			WithHint("try again in a second")
	}
	defer v.waiting.Add(-1)
	v.cores <- struct{}{}
	defer func() { <-v.cores }()
	ok := h.matches(secret)
	if ok {
		v.known.add(pair)
	}
	return ok, nil
}

func (v *Verifier) pair(hash, secret string) (sum [32]byte) {
	mac := hmac.New(sha256.New, v.key[:])
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(hash)))
	mac.Write(length[:])
	mac.Write([]byte(hash))
	mac.Write([]byte(secret))
	mac.Sum(sum[:0])
	return sum
}

func ended(err error) error {
	return spec.Errorf(spec.Unavailable, "cannot verify the password: %w", err)
}
