package mappertest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

// testReadOrder reads forwards, backwards and each point three times in one call.
func testReadOrder(t *testing.T, b *bench) {
	s := b.dial(t)
	forward := sequence(len(b.Read))
	backward := slices.Clone(forward)
	slices.Reverse(backward)
	thrice := slices.Concat(backward, forward, backward)
	points := b.readPoints(t)
	for _, order := range [][]int{forward, backward, thrice} {
		asked := make([]mapper.Point, len(order))
		for i, at := range order {
			asked[i] = points[at]
		}
		b.checkRead(t, order, s.Read(t.Context(), asked))
	}
}

func testReadNothing(t *testing.T, b *bench) {
	if got := b.dial(t).Read(t.Context(), nil); len(got) != 0 {
		t.Errorf("reading no points gives %d results", len(got))
	}
}

func testReadConcurrently(t *testing.T, b *bench) {
	s := b.dial(t)
	points := b.readPoints(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				b.checkRead(t, sequence(len(points)), s.Read(t.Context(), points))
			}
		})
	}
	all.Wait()
}

func testBadAmongGood(t *testing.T, b *bench) {
	s := b.dial(t)
	good := b.readPoints(t)
	bad := b.point(t, mapper.OpRead, b.Bad)
	middle := len(good) / 2
	results := s.Read(t.Context(), slices.Insert(slices.Clone(good), middle, bad))
	if len(results) != len(good)+1 {
		t.Fatalf("%d results for %d points", len(results), len(good)+1)
	}
	if results[middle].Err == nil {
		t.Errorf("%s is read as %v", b.Bad, results[middle].Value)
	}
	b.checkRead(t, sequence(len(good)), slices.Delete(results, middle, middle+1))
	select {
	case <-s.Done():
		t.Errorf("one bad point ended the session: %v", s.Err())
	default:
	}
}

func testCancelRead(t *testing.T, b *bench) {
	s := b.dial(t)
	points := b.readPoints(t)
	b.proxy.Set(Hang)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	within(t, prompt, "a cancelled Read", func() { checkAllFail(t, s.Read(ctx, points), len(points)) })
	within(t, prompt, "closing after a cancelled Read", func() { s.Close() }) //nolint:errcheck // the machine hangs
}

func testCloseWhileReading(t *testing.T, b *bench) {
	s := b.dial(t)
	points := b.readPoints(t)
	b.proxy.Set(Hang)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() { checkAllFail(t, s.Read(t.Context(), points), len(points)) })
	}
	within(t, prompt, "closing while reading", func() { s.Close() }) //nolint:errcheck // the machine hangs
	within(t, prompt, "reading from a closed session", readers.Wait)
}

// testBrokenAnswers reads while the answers are noise or cut short: no value may come of it, and a
// new session works.
func testBrokenAnswers(t *testing.T, b *bench, fault Fault) {
	s := b.dial(t)
	points := b.readPoints(t)
	b.proxy.Set(fault)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	within(t, prompt, "reading broken answers", func() { checkAllFail(t, s.Read(ctx, points), len(points)) })
	within(t, prompt, "closing after broken answers", func() { s.Close() }) //nolint:errcheck // the machine lies
	b.proxy.Set(Pass)
	b.proxy.Cut()
	b.checkWorks(t, b.redial(t))
}

func checkAllFail(t *testing.T, results []mapper.Result, want int) {
	t.Helper()
	if len(results) != want {
		t.Errorf("%d results for %d points", len(results), want)
	}
	for i, r := range results {
		if r.Err == nil {
			t.Errorf("result %d is %v, want an error", i, r.Value)
		}
	}
}

// testLiar dials and uses a server that breaks the protocol.
func testLiar(t *testing.T, h Harness, start func(testing.TB) string) {
	b := &bench{Harness: h}
	b.connector = b.connect(t, start(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	within(t, prompt, "a session with a liar", func() {
		s, err := b.connector.Dial(ctx)
		if err != nil {
			return
		}
		points := b.readPoints(t)
		checkAllFail(t, s.Read(ctx, points), len(points))
		s.Close() //nolint:errcheck // the machine lies
	})
}
