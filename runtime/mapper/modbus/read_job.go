package modbus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

// readJob is one call of Read. Its caller may leave before it is done.
type readJob struct {
	ctx    context.Context
	points []want
	done   chan struct{}

	mu      sync.Mutex
	results []mapper.Result
	settled []bool
	left    int
}

func newReadJob(ctx context.Context, points int) *readJob {
	j := &readJob{
		ctx: ctx, done: make(chan struct{}), left: points,
		results: make([]mapper.Result, points), settled: make([]bool, points),
	}
	if points == 0 {
		close(j.done)
	}
	return j
}

// set settles one point; later calls for it change nothing.
func (j *readJob) set(at int, r mapper.Result) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.settled[at] {
		return
	}
	j.settled[at], j.results[at] = true, r
	if j.left--; j.left == 0 {
		close(j.done)
	}
}

// finish returns the results; points that are still open fail with err and stay so.
func (j *readJob) finish(err error) []mapper.Result {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, settled := range j.settled {
		if !settled {
			j.settled[i], j.results[i] = true, mapper.Result{Err: err}
		}
	}
	return j.results
}

// want is one point of a job and what has arrived of it.
type want struct {
	job    *readJob
	at     int
	point  *point
	data   []byte
	filled int
}

// open reports whether somebody still waits for the point.
func (w *want) open() bool {
	w.job.mu.Lock()
	defer w.job.mu.Unlock()
	return !w.job.settled[w.at] && w.job.ctx.Err() == nil
}

// fill takes the entries of a part and settles the point once all are there.
func (w *want) fill(part span, data []byte, now time.Time) {
	if w.filled == 0 && part.count == w.point.count {
		w.data = data // decode copies what it keeps
	} else {
		if w.data == nil {
			w.data = make([]byte, w.point.count*w.point.width())
		}
		copy(w.data[(part.first-w.point.first)*w.point.width():], data)
	}
	w.filled += part.count
	if w.filled < w.point.count {
		return
	}
	value, raw := w.point.decode(w.point.table, w.data)
	w.job.set(w.at, mapper.Result{Time: now, Value: value, Raw: raw})
}

// fail settles the point with why it has no value.
func (w *want) fail(err error) {
	if err == nil {
		err = errors.New("no value")
	}
	w.job.set(w.at, mapper.Result{Err: err})
}
