package modbus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// garbledInARow is how many broken answers on a line without transaction ids end the session.
const garbledInARow = 3

var errClosed = errors.New("the session is closed")

// session is one open link. One goroutine, run, owns the link and asks one question at a time;
// it takes all reads that wait and plans them together, and lets writes go in between.
type session struct {
	c      *connector
	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	wake   chan struct{}
	asking atomic.Bool // whether the owner waits for the device

	// Of the owner alone.
	link    *link
	memory  *memory
	asked   time.Time // end of the last request
	garbled int       // broken answers in a row

	mu         sync.Mutex
	err        error
	reads      []*readJob
	calls      []*call
	units      map[byte]*unit
	lastAnswer time.Time
	aside      time.Time // when a second connection was opened last
}

func newSession(c *connector, l *link) *session {
	s := &session{c: c, link: l, wake: make(chan struct{}, 1), memory: newMemory(), units: map[byte]*unit{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

// Done is closed when the session has ended.
func (s *session) Done() <-chan struct{} { return s.ctx.Done() }

// Err says why the session ended, nil after Close.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, errClosed) {
		return nil
	}
	return s.err
}

// Close ends the session. A request under way is left to end by its time-out.
func (s *session) Close() error {
	if s.fail(errClosed) && s.asking.Load() {
		s.c.abandon("request")
	}
	return nil
}

// fail ends the session unless it has ended; it reports whether it did.
func (s *session) fail(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = err
	s.cancel()
	return true
}

// ending is what callers are told once the session has ended.
func (s *session) ending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return spec.Errorf(spec.Unavailable, "cannot ask the device: %w", s.err)
}

func (s *session) ended() bool { return s.ctx.Err() != nil }

// Subscribe refuses: a Modbus device pushes nothing.
func (s *session) Subscribe(_ context.Context, subs []mapper.Subscription) []error {
	out := make([]error, len(subs))
	for i := range out {
		out[i] = spec.Errorf(spec.Invalid, "cannot subscribe to a Modbus device: it is polled")
	}
	return out
}

// Unsubscribe has nothing to end.
func (s *session) Unsubscribe(context.Context, []string) error { return nil }

// Read asks for all points; a point that cannot be read fails alone. Points of a unit that is
// known to be silent fail at once.
func (s *session) Read(ctx context.Context, points []mapper.Point) []mapper.Result {
	job := newReadJob(ctx, len(points))
	for i, p := range points {
		mine, ok := p.(*point)
		if !ok {
			job.set(i, mapper.Result{Err: spec.Errorf(spec.Invalid, "cannot read a %T over Modbus", p)})
			continue
		}
		job.points = append(job.points, want{job: job, at: i, point: mine})
	}
	s.mu.Lock()
	s.reads = append(s.reads, job)
	s.mu.Unlock()
	s.knock()
	select {
	case <-job.done:
		return job.finish(nil)
	case <-ctx.Done():
		return job.finish(ctx.Err())
	case <-s.ctx.Done():
		return job.finish(s.ending())
	}
}

// Write sends one value and returns it as the device understood it. After a time-out it is not
// known whether the device took it.
func (s *session) Write(ctx context.Context, p mapper.Point, v mapper.Payload) mapper.Result {
	mine, ok := p.(*point)
	if !ok {
		return mapper.Result{Err: spec.Errorf(spec.Invalid, "cannot write a %T over Modbus", p)}
	}
	data, err := mine.encode(v)
	if err != nil {
		return mapper.Result{Err: spec.Errorf(spec.Invalid, "%w", err)}
	}
	if _, err := s.do(ctx, &call{ctx: ctx, span: mine.span, data: data}); err != nil {
		return mapper.Result{Err: spec.Errorf(spec.Unavailable, "cannot write: %w", err)}
	}
	value, raw := mine.decode(mine.table, data)
	if raw != nil {
		value = v.Value
	}
	return mapper.Result{Time: time.Now(), Value: value}
}

// call is a question of its own: a write, or whether a unit is back.
type call struct {
	ctx   context.Context
	span  span
	data  []byte // nil: a read
	probe bool   // whether a silent unit is asked whether it is back
	reply chan reply
}

type reply struct {
	data []byte
	err  error
}

// do hands a call to the owner and waits for the answer, ctx or the end of the session.
func (s *session) do(ctx context.Context, c *call) ([]byte, error) {
	c.reply = make(chan reply, 1)
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.mu.Unlock()
	s.knock()
	select {
	case r := <-c.reply:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, s.ending()
	}
}

func (s *session) knock() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the owner of the link.
func (s *session) run() {
	defer func() { s.link.close() }()
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		for !s.ended() {
			s.serveCalls()
			jobs := s.takeReads()
			if len(jobs) == 0 {
				break
			}
			s.serveReads(jobs)
		}
	}
}

func (s *session) takeReads() []*readJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := s.reads
	s.reads = nil
	return jobs
}

func (s *session) takeCalls() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// serveCalls does what may go before the next read.
func (s *session) serveCalls() {
	for calls := s.takeCalls(); len(calls) > 0; calls = s.takeCalls() {
		for _, c := range calls {
			if s.ended() {
				return
			}
			c.reply <- s.serveCall(c)
		}
	}
}

func (s *session) serveCall(c *call) reply {
	if err := c.ctx.Err(); err != nil {
		return reply{err: err}
	}
	if err := s.silence(c.span.unit); err != nil && !c.probe {
		return reply{err: err}
	}
	data, err := s.ask(c.span, c.data)
	s.judge(c.span, err, c.probe)
	return reply{data: data, err: err}
}

// ask waits the requestDelay and asks.
func (s *session) ask(what span, data []byte) ([]byte, error) {
	pause := milliseconds(s.c.conn.RequestDelay) - time.Since(s.asked)
	if err := sleep(s.ctx, pause); err != nil {
		return nil, s.ending()
	}
	s.asking.Store(true)
	defer s.asking.Store(false)
	data, err := s.link.ask(what, data)
	s.asked = time.Now()
	return data, err
}

// serveReads answers the jobs: their points are planned together and asked request by request.
func (s *session) serveReads(jobs []*readJob) {
	var wants []want
	for _, job := range jobs {
		wants = append(wants, job.points...)
	}
	items := make([]item, len(wants))
	for i := range wants {
		p := wants[i].point
		items[i] = item{span: p.span, size: p.size()}
	}
	requests := plan(items, s.c.limits, s.memory, time.Now())
	s.provenFirst(requests)
	for _, r := range requests {
		s.serveCalls()
		if s.ended() {
			return
		}
		s.serveRead(r, wants)
	}
}

// provenFirst moves units that have answered before those of which nothing is known.
func (s *session) provenFirst(requests []request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(requests, func(a, b request) int {
		return s.rank(a.unit) - s.rank(b.unit)
	})
}

// serveRead asks one request and, where the device refuses it, its parts.
func (s *session) serveRead(r request, wants []want) {
	if !slices.ContainsFunc(r.pieces, func(p piece) bool { return wants[p.item].open() }) {
		return
	}
	if err := s.silence(r.unit); err != nil {
		settle(r, wants, err)
		return
	}
	data, err := s.ask(r.span, nil)
	if faultOf(err) == faultAddress && err != nil {
		if _, _, ok := r.halves(); ok {
			s.split(r, wants)
			return
		}
		s.memory.learn(trail{bad: []span{r.span}}, time.Now().Add(retryAfter), time.Now())
	}
	s.finish(r, wants, data, err)
}

// split asks for the parts of a refused request until each part is read or refused alone, and
// remembers what it learned.
func (s *session) split(r request, wants []want) {
	s.judge(r.span, nil, false)
	var t trail
	queue := []request{r}
	for len(queue) > 0 {
		left, right, ok := queue[0].halves()
		queue = queue[1:]
		if !ok {
			continue
		}
		t.splits = append(t.splits, right.pieces[0].span)
		for _, half := range []request{left, right} {
			if s.ended() {
				return
			}
			data, err := s.ask(half.span, nil)
			if err != nil && faultOf(err) == faultAddress {
				if _, _, ok := half.halves(); ok {
					queue = append(queue, half)
					continue
				}
				t.bad = append(t.bad, half.span)
			}
			s.finish(half, wants, data, err)
			if err != nil && !answered(err) {
				s.giveUp(append(queue, right), wants, err)
				return
			}
		}
	}
	now := time.Now()
	s.memory.learn(t, now.Add(retryAfter), now)
	s.c.config.Log.Debug("a joined request was refused and split", "request", r.span, "refused", t.bad)
}

// giveUp fails what is left of a split when the unit stops answering.
func (s *session) giveUp(rest []request, wants []want, err error) {
	for _, r := range rest {
		settle(r, wants, err)
	}
}

// finish judges an answer and hands it to the points.
func (s *session) finish(r request, wants []want, data []byte, err error) {
	s.judge(r.span, err, false)
	if err != nil {
		settle(r, wants, err)
		return
	}
	s.memory.forgive(r.span)
	now := time.Now()
	for _, p := range r.pieces {
		from := (p.first - r.first) * r.width()
		wants[p.item].fill(p.span, data[from:from+p.count*r.width()], now)
	}
}

func settle(r request, wants []want, err error) {
	for _, p := range r.pieces {
		wants[p.item].fail(err)
	}
}
