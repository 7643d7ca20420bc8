package credential

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(2, time.Minute)
		for range 2 {
			if _, ok := l.Allowed("a"); !ok {
				t.Fatal("refused too early")
			}
			l.Count("a")
		}
		if wait, ok := l.Allowed("a"); ok || wait <= 0 || wait > time.Minute {
			t.Errorf("after the burst: %v, %v", wait, ok)
		}
		if _, ok := l.Allowed("b"); !ok {
			t.Error("another key is refused")
		}
		time.Sleep(time.Minute)
		if _, ok := l.Allowed("a"); !ok {
			t.Error("refused after a minute")
		}
		for n := range maxBuckets + 10 {
			l.Count(fmt.Sprint(n))
		}
		if len(l.buckets) > maxBuckets {
			t.Errorf("%d buckets are kept", len(l.buckets))
		}
	})
}

func TestAddressKey(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":                "192.0.2.7",
		"192.0.2.7:1883":           "192.0.2.7",
		"[::ffff:192.0.2.7]:1883":  "192.0.2.7",
		"2001:db8:1:2:3:4:5:6":     "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"127.0.0.1:5":              "127.0.0.1 loopback",
		"[::1]:5":                  "::1 loopback",
		"pipe":                     "pipe",
	} {
		key, loopback := addressKey(address)
		if loopback {
			key += " loopback"
		}
		if key != want {
			t.Errorf("%s counts as %s, want %s", address, key, want)
		}
	}
}

// allows reports whether an attempt would be verified now.
func (l *Logins) allows(user, address string) bool {
	t := newTry(Attempt{User: user, Address: address, Secret: "another"})
	_, ok := l.begin(t)
	if ok {
		l.end(t)
	}
	return ok
}

func fail(l *Logins, times int, user, address string) {
	for range times {
		l.count(newTry(Attempt{User: user, Address: address}))
	}
}

func TestLoginsLimits(t *testing.T) {
	for name, test := range map[string]struct {
		prepare       func(*Logins)
		user, address string
		want          bool
	}{
		"ten wrong":                     {func(l *Logins) { fail(l, 10, "a", "192.0.2.1:1") }, "a", "192.0.2.1:2", false},
		"nine wrong":                    {func(l *Logins) { fail(l, 9, "a", "192.0.2.1:1") }, "a", "192.0.2.1:2", true},
		"another user":                  {func(l *Logins) { fail(l, 10, "a", "192.0.2.1") }, "b", "192.0.2.1", true},
		"another address":               {func(l *Logins) { fail(l, 10, "a", "192.0.2.1") }, "a", "192.0.2.2", true},
		"another address of the /64":    {func(l *Logins) { fail(l, 10, "a", "2001:db8::1") }, "a", "2001:db8::2", false},
		"a user from many addresses":    {spread(100, false), "a", "198.51.100.1", false},
		"many users from one address":   {spread(50, true), "b", "192.0.2.1", false},
		"a local flood, other users":    {func(l *Logins) { fail(l, 1000, "a", "127.0.0.1") }, "b", "127.0.0.1", true},
		"a local flood, from elsewhere": {func(l *Logins) { fail(l, 1000, "a", "::1") }, "a", "192.0.2.1", true},
		"a local flood, the same":       {func(l *Logins) { fail(l, 1000, "a", "127.0.0.1") }, "a", "127.0.0.1", false},
	} {
		l := NewLogins(newVerifier(1, 0))
		test.prepare(l)
		if got := l.allows(test.user, test.address); got != test.want {
			t.Errorf("%s: allowed %v, want %v", name, got, test.want)
		}
	}
}

func spread(n int, users bool) func(*Logins) {
	return func(l *Logins) {
		for i := range n {
			if users {
				fail(l, 1, fmt.Sprint("u", i), "192.0.2.1")
			} else {
				fail(l, 1, "a", fmt.Sprintf("203.0.113.%d", i))
			}
		}
	}
}

// Many guesses at once are no more than one after the other; one password many times, as
// after a restart when every client connects anew, is one.
func TestLoginsAtOnce(t *testing.T) {
	l := NewLogins(newVerifier(1, 0))
	allowed := 0
	for i := range 100 {
		if _, ok := l.begin(newTry(Attempt{User: "a", Address: "127.0.0.1", Secret: fmt.Sprint(i)})); ok {
			allowed++
		}
	}
	if allowed != 10 {
		t.Errorf("%d guesses at once, want 10", allowed)
	}
	for range 1000 {
		if _, ok := l.begin(newTry(Attempt{User: "b", Address: "127.0.0.1", Secret: "right"})); !ok {
			t.Fatal("a storm of correct clients is limited")
		}
	}
	for range 1000 {
		l.end(newTry(Attempt{User: "b", Address: "127.0.0.1", Secret: "right"}))
	}
	for i := range 10 {
		l.end(newTry(Attempt{User: "a", Address: "127.0.0.1", Secret: fmt.Sprint(i)}))
	}
	if len(l.trying) != 0 {
		t.Errorf("%d are still tried", len(l.trying))
	}
}

func TestLoginsVerify(t *testing.T) {
	hash, err := HashPassword("right")
	if err != nil {
		t.Fatal(err)
	}
	l := NewLogins(NewVerifier())
	l.pairs.burst = 2
	login := func(secret string, hashes ...string) (string, error) {
		return l.Verify(t.Context(), Attempt{User: "a", Address: "192.0.2.1:7", Secret: secret}, hashes)
	}
	generated := HashGenerated("token")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got, err := login("right", generated, hash); got != hash || err != nil {
				t.Errorf("the right password: %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if got, err := login("wrong", hash); got != "" || err != nil {
			t.Errorf("a wrong password: %q, %v", got, err)
		}
	}
	var limited *LimitedError
	if _, err := login("wrong", hash); !errors.As(err, &limited) || limited.After <= 0 {
		t.Errorf("a third wrong one: %v", err)
	}
	if _, err := login("nobody"); !errors.As(err, &limited) {
		t.Errorf("without hashes: %v", err)
	}
	if got, err := login("right", hash); got != hash || err != nil {
		t.Errorf("the remembered password is held back: %q, %v", got, err)
	}
	if got, err := login("token", hash, generated); got != generated || err != nil {
		t.Errorf("the generated secret is held back: %q, %v", got, err)
	}
	if _, err := l.Verify(t.Context(), Attempt{User: strings.Repeat("x", 100_000)}, nil); err != nil {
		t.Errorf("a long name: %v", err)
	}
	if _, err := login("x", "plain"); err == nil || errors.As(err, &limited) {
		t.Errorf("a malformed hash: %v", err)
	}
}
