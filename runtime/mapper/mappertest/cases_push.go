package mappertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/millwright/millwright/runtime/mapper"
)

// inbox keeps what one subscription delivers.
type inbox struct {
	h       Harness
	mu      sync.Mutex
	numbers []int64
	errs    []error
}

func (in *inbox) deliver(r mapper.Result) {
	n, err := in.h.integer(r)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.errs = append(in.errs, err)
		return
	}
	in.numbers = append(in.numbers, n)
}

func (in *inbox) got() []int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.numbers)
}

// wait waits until the last delivered number is n.
func (in *inbox) wait(t *testing.T, n int64) {
	t.Helper()
	if !eventually(patience, func() bool {
		got := in.got()
		return len(got) > 0 && got[len(got)-1] == n
	}) {
		in.mu.Lock()
		defer in.mu.Unlock()
		t.Fatalf("%d was not delivered; got %v, errors %v", n, in.numbers, in.errs)
	}
}

func (b *bench) subscription(t *testing.T, id string) (mapper.Subscription, *inbox) {
	t.Helper()
	in := &inbox{h: b.Harness}
	return mapper.Subscription{ID: id, Point: b.point(t, mapper.OpSubscribe, b.Pushed), Deliver: in.deliver}, in
}

func (b *bench) subscribe(t *testing.T, s mapper.Session, id string) *inbox {
	t.Helper()
	sub, in := b.subscription(t, id)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, err := range s.Subscribe(ctx, []mapper.Subscription{sub}) {
		if err != nil {
			t.Fatalf("cannot subscribe: %v", err)
		}
	}
	return in
}

// testPush subscribes to one point twice, under two ids, and sees rising values in order.
func testPush(t *testing.T, b *bench) {
	s := b.dial(t)
	first, second := b.subscribe(t, s, "first"), b.subscribe(t, s, "second")
	for n := int64(1000); n < 1010; n++ {
		b.machine.Set(t, n)
	}
	for _, in := range []*inbox{first, second} {
		in.wait(t, 1009)
		got := slices.DeleteFunc(in.got(), func(n int64) bool { return n < 1000 })
		if !slices.IsSorted(got) {
			t.Errorf("values arrive out of order: %v", got)
		}
	}
}

// testPushAgain subscribes again under an id that was unsubscribed.
func testPushAgain(t *testing.T, b *bench) {
	s := b.dial(t)
	for n := range int64(3) {
		in := b.subscribe(t, s, "again")
		b.machine.Set(t, 2000+n)
		in.wait(t, 2000+n)
		if err := s.Unsubscribe(t.Context(), []string{"again"}); err != nil {
			t.Fatalf("cannot unsubscribe: %v", err)
		}
	}
}

// testBadPush subscribes to one refused point between good ones.
func testBadPush(t *testing.T, b *bench) {
	s := b.dial(t)
	var subs []mapper.Subscription
	var inboxes []*inbox
	for i := range 3 {
		sub, in := b.subscription(t, fmt.Sprint("good", i))
		subs, inboxes = append(subs, sub), append(inboxes, in)
	}
	bad := &inbox{h: b.Harness}
	subs = slices.Insert(subs, 1, mapper.Subscription{
		ID: "bad", Point: b.point(t, mapper.OpSubscribe, b.Bad), Deliver: bad.deliver,
	})
	errs := s.Subscribe(t.Context(), subs)
	if len(errs) != len(subs) {
		t.Fatalf("%d errors for %d subscriptions", len(errs), len(subs))
	}
	for i, err := range errs {
		if isBad := i == 1; (err != nil) != isBad {
			t.Errorf("subscription %s: %v", subs[i].ID, err)
		}
	}
	b.machine.Set(t, 3000)
	for _, in := range inboxes {
		in.wait(t, 3000)
	}
	if got := bad.got(); len(got) > 0 {
		t.Errorf("the bad subscription delivered %v", got)
	}
}

func testUnsubscribe(t *testing.T, b *bench) {
	s := b.dial(t)
	gone, stays := b.subscribe(t, s, "gone"), b.subscribe(t, s, "stays")
	b.machine.Set(t, 1)
	gone.wait(t, 1)
	stays.wait(t, 1)
	if err := s.Unsubscribe(t.Context(), []string{"gone"}); err != nil {
		t.Fatalf("cannot unsubscribe: %v", err)
	}
	before := len(gone.got())
	b.machine.Set(t, 2)
	stays.wait(t, 2)
	if got := gone.got(); len(got) != before {
		t.Errorf("%v was delivered after Unsubscribe", got[before:])
	}
}

func testWrite(t *testing.T, b *bench) {
	s := b.dial(t)
	p := b.point(t, mapper.OpWrite, b.Write)
	for n := int64(5); n < 8; n++ {
		if r := s.Write(t.Context(), p, b.payload(n)); r.Err != nil {
			t.Fatalf("cannot write %d: %v", n, r.Err)
		}
		if !eventually(patience, func() bool {
			got, ok := b.machine.Written(t)
			return ok && got == n
		}) {
			got, ok := b.machine.Written(t)
			t.Fatalf("wrote %d, the machine has %d (%v)", n, got, ok)
		}
	}
}
