package credential

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Attempt is one log-in that somebody tries.
type Attempt struct {
	User    string // as the client wrote it: any text, of any length
	Address string // where it comes from, "IP" or "IP:port"
	Secret  string
}

// LimitedError is the answer to a log-in that was not tried, because too many before it were
// wrong.
type LimitedError struct{ After time.Duration }

func (e *LimitedError) Error() string {
	return "cannot log in now: too many wrong passwords; try again in " + e.After.Round(time.Second).String()
}

// Logins decides about log-ins, for all doors of an instance together, so that who is turned
// away at one cannot guess on at the other. Wrong secrets are counted by the user and the
// address together (10, then one every 6 s), by the user (100, then one every 2 s) and by the
// address (50, then one a second). An IPv6 address stands for its /64. From loopback, where
// everyone has the same address, only user and address together count: a local flood shuts
// out nobody but its own user name, there. A secret that was right before, or that costs
// nothing to compare, is never held back. It is safe for use from several goroutines.
type Logins struct {
	verifier                *Verifier
	pairs, users, addresses *Limiter

	mu sync.Mutex
	// trying holds by limiter key which different secrets are being verified, and how many
	// times: many clients with one password are one guess.
	trying map[[sha256.Size]byte]map[[sha256.Size]byte]int
}

// NewLogins returns Logins over the verifier.
func NewLogins(verifier *Verifier) *Logins {
	return &Logins{
		verifier:  verifier,
		pairs:     NewLimiter(10, 6*time.Second),
		users:     NewLimiter(100, 2*time.Second),
		addresses: NewLimiter(50, time.Second),
		trying:    map[[sha256.Size]byte]map[[sha256.Size]byte]int{},
	}
}

// Verify returns which of the user's hashes the secret belongs to, "" for none. A user who
// does not exist has no hashes; time does not tell. The error is a *LimitedError, or says
// that the answer could not be had (see Verifier.Verify).
func (l *Logins) Verify(ctx context.Context, a Attempt, hashes []string) (hash string, err error) {
	for _, hash := range hashes {
		known, err := l.verifier.knows(hash, a.Secret)
		if err != nil {
			return "", err
		}
		if known {
			return hash, nil
		}
	}
	t := newTry(a)
	if wait, ok := l.begin(t); !ok {
		return "", &LimitedError{wait}
	}
	defer l.end(t)
	if hash, err = l.verify(ctx, a.Secret, hashes); err == nil && hash == "" {
		l.count(t)
	}
	return hash, err
}

// verify compares with the slow hashes, of which there is at least nobody's.
func (l *Logins) verify(ctx context.Context, secret string, hashes []string) (string, error) {
	tried := false
	for _, hash := range hashes {
		if !strings.HasPrefix(hash, argonPrefix) {
			continue
		}
		tried = true
		if ok, err := l.verifier.Verify(ctx, hash, secret); ok || err != nil {
			return hash, err
		}
	}
	if tried {
		return "", nil
	}
	return "", l.verifier.VerifyNobody(ctx, secret)
}

// try is an attempt as it is counted.
type try struct {
	pair, user, address string // keys; user and address are empty for loopback
	secret              [sha256.Size]byte
}

func newTry(a Attempt) try {
	address, loopback := addressKey(a.Address)
	t := try{pair: address + "\x00" + a.User, secret: sha256.Sum256([]byte(a.Secret))}
	if !loopback {
		t.user, t.address = a.User, address
	}
	return t
}

// addressKey is what of an address counts: all of IPv4, the /64 of IPv6.
func addressKey(address string) (key string, loopback bool) {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address, false
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		return netip.PrefixFrom(ip, 64).Masked().String(), false
	}
	return ip.String(), ip.IsLoopback()
}

// begin asks the limiters and notes that the secret is being verified. Secrets under way are
// guesses that may fail yet, so that many connections at once get no more than one by one.
func (l *Logins) begin(t try) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait, ok = l.pairs.allowedBeside(t.pair, l.others(t.pair, t.secret)); !ok {
		return wait, false
	}
	if t.address != "" {
		if wait, ok = l.users.Allowed(t.user); !ok {
			return wait, false
		}
		if wait, ok = l.addresses.Allowed(t.address); !ok {
			return wait, false
		}
	}
	key := sha256.Sum256([]byte(t.pair))
	if l.trying[key] == nil {
		l.trying[key] = map[[sha256.Size]byte]int{}
	}
	l.trying[key][t.secret]++
	return 0, true
}

// others counts the different secrets beside this one. The caller holds mu.
func (l *Logins) others(pair string, secret [sha256.Size]byte) int {
	secrets := l.trying[sha256.Sum256([]byte(pair))]
	n := len(secrets)
	if _, same := secrets[secret]; same {
		n--
	}
	return n
}

func (l *Logins) end(t try) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := sha256.Sum256([]byte(t.pair))
	secrets := l.trying[key]
	if secrets[t.secret]--; secrets[t.secret] == 0 {
		delete(secrets, t.secret)
	}
	if len(secrets) == 0 {
		delete(l.trying, key)
	}
}

func (l *Logins) count(t try) {
	l.pairs.Count(t.pair)
	if t.address != "" {
		l.users.Count(t.user)
		l.addresses.Count(t.address)
	}
}
