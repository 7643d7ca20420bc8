package credential

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/millwright/millwright/internal/spec"
)

// gate is a hash whose verification waits until it is opened.
type gate struct {
	open  chan struct{}
	runs  atomic.Int64
	right string
}

func (g *gate) matches(secret string) bool {
	g.runs.Add(1)
	<-g.open
	return secret == g.right
}

func (*gate) slow() bool { return true }

func TestVerifyRemembers(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(1, 0)
	if ok, err := v.Verify(t.Context(), hash, "secret"); !ok || err != nil {
		t.Fatalf("Verify = %v, %v", ok, err)
	}
	v.cores <- struct{}{} // no core is free: only the memory can answer
	v.waiting.Store(v.most)
	if ok, err := v.Verify(t.Context(), hash, "secret"); !ok || err != nil {
		t.Errorf("second Verify = %v, %v; want it from memory", ok, err)
	}
	if _, err := v.Verify(t.Context(), hash, "wrong"); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("Verify of another secret with a full queue: %v, want unavailable", err)
	}
	v.known = newMemory(rememberedPairs)
	if _, err := v.Verify(t.Context(), hash, "secret"); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("Verify with an empty memory: %v, want unavailable", err)
	}
}

func TestVerifyQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(2, 3)
		g := &gate{open: make(chan struct{}), right: "a"}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if _, err := v.slowly(g, [32]byte{byte(i)}, "a"); err != nil {
					t.Errorf("verification %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		if n := g.runs.Load(); n != 2 {
			t.Errorf("%d verifications run at once on 2 cores", n)
		}
		_, err := v.slowly(g, [32]byte{9}, "a")
		if spec.KindOf(err) != spec.Unavailable {
			t.Errorf("sixth verification: %v, want unavailable", err)
		}
		close(g.open)
		wg.Wait()
		if n := v.waiting.Load(); n != 0 {
			t.Errorf("%d still count as waiting", n)
		}
	})
}

func TestVerifyContext(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	v.cores <- struct{}{}
	done := make(chan error)
	go func() {
		_, err := v.Verify(ctx, hash, "secret")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Verify = %v, want the context's error", err)
	}
	<-v.cores
}

func TestVerifyTogether(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(1, 0) // any second verification would be refused as busy
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if ok, err := v.Verify(t.Context(), hash, "secret"); !ok || err != nil {
				t.Errorf("Verify = %v, %v", ok, err)
			}
		})
	}
	wg.Wait()
}

func TestVerifyNobody(t *testing.T) {
	v := NewVerifier()
	if err := v.VerifyNobody(t.Context(), "secret"); err != nil {
		t.Error(err)
	}
}

func TestVerifyMalformed(t *testing.T) {
	v := NewVerifier()
	if ok, err := v.Verify(t.Context(), "plain", "plain"); ok || spec.KindOf(err) != spec.Internal {
		t.Errorf("Verify = %v, %v", ok, err)
	}
}

func TestMemory(t *testing.T) {
	m := newMemory(8)
	kept := [32]byte{1}
	m.add(kept)
	for i := range 100 {
		if !m.has(kept) {
			t.Fatalf("a pair in use is forgotten after %d others", i)
		}
		m.add([32]byte{2, byte(i)})
		if n := len(m.young) + len(m.old); n > 8 {
			t.Fatalf("%d pairs are kept, at most 8", n)
		}
	}
	if m.has([32]byte{2, 0}) {
		t.Error("a pair out of use is still known")
	}
}

func BenchmarkVerifyPassword(b *testing.B) {
	hash, err := HashPassword("secret")
	if err != nil {
		b.Fatal(err)
	}
	v := NewVerifier()
	for b.Loop() {
		v.known = newMemory(rememberedPairs)
		if _, err := v.Verify(b.Context(), hash, "secret"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	hash, err := HashPassword("secret")
	if err != nil {
		b.Fatal(err)
	}
	v := NewVerifier()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), hash, "secret"); err != nil {
			b.Fatal(err)
		}
	}
}
