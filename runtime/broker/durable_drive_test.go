package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// drive is one run of the durability tests: clients that load a broker, through its crashes
// and their own, and check what they get.
type drive struct {
	t      testing.TB
	seed   uint64
	ctx    context.Context // ends the clients
	cancel context.CancelFunc

	addr   atomic.Pointer[string] // where the broker listens; nil while it is down
	local  atomic.Pointer[Broker] // in process; nil while it is down or elsewhere
	ledger *ledger                // of what the subscribers subscribe to
	kept   *ledger                // of retained messages
	lead   int64                  // publishers run this far ahead of the slowest subscriber at most

	compacted uint64 // segments of the journal

	crashes bool // the broker may have forgotten, when it is back, what it had sent

	inboxes     []*inbox
	subscribing sync.WaitGroup // receivers that are not ready for messages yet
	publishers  sync.WaitGroup
	others      sync.WaitGroup
	stopping    chan struct{} // closed: publishers publish nothing new
	finishing   chan struct{} // closed: all is published and acknowledged
	stopOnce    sync.Once

	reconnects, rounds atomic.Int64 // of all clients; of the churners

	mu     sync.Mutex
	links  map[net.Conn]struct{}
	faults []string
	count  int
}

// topicsOf are the numbers of the topics that publishers share.
const topicsOf = 3

func topicName(n int) string { return fmt.Sprintf("d/%d", n) }

func newDrive(t testing.TB, seed uint64) *drive {
	d := &drive{
		t: t, seed: seed, ledger: newLedger(), kept: newLedger(), lead: 1500,
		stopping: make(chan struct{}), finishing: make(chan struct{}), links: map[net.Conn]struct{}{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		d.cancel()
		d.cut()
		d.publishers.Wait()
		d.others.Wait()
	})
	return d
}

// random is a source of its own for each client, from the run's seed.
func (d *drive) random(client string) *rand.Rand {
	var n uint64
	for _, b := range []byte(client) {
		n = n*31 + uint64(b)
	}
	return rand.New(rand.NewPCG(d.seed, n))
}

// fault notes what must not be.
func (d *drive) fault(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count++; d.count <= 8 {
		d.faults = append(d.faults, fmt.Sprintf(format, args...))
	}
	if d.count == 100 {
		d.cancel() // one mistake of a broker is enough
	}
}

// failed reports what must not be, as text, "" for nothing.
func (d *drive) failed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == 0 {
		return ""
	}
	return fmt.Sprintf("%d faults, the first:\n  %s", d.count, strings.Join(d.faults, "\n  "))
}

// to says where the broker is now; nil for nowhere. Who is connected elsewhere is cut off.
func (d *drive) to(addr string, local *Broker) {
	if addr == "" {
		d.addr.Store(nil)
		d.local.Store(nil)
		d.cut()
		return
	}
	d.local.Store(local)
	d.addr.Store(&addr)
}

// cut breaks all connections.
func (d *drive) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for nc := range d.links {
		_ = nc.Close()
	}
}

// connect opens a link, as soon as there is a broker; false when the run is over.
func (d *drive) connect(o greeting, number int) (l *link, done func(), ok bool) {
	for d.pause() {
		addr := d.addr.Load()
		if addr == nil {
			continue
		}
		nc, err := net.Dial("tcp", *addr)
		if err != nil {
			continue
		}
		d.mu.Lock()
		d.links[nc] = struct{}{}
		d.mu.Unlock()
		done := func() {
			_ = nc.Close()
			d.mu.Lock()
			delete(d.links, nc)
			d.mu.Unlock()
		}
		if d.addr.Load() == addr && d.ctx.Err() == nil {
			if l, err := o.open(nc, number); err == nil {
				d.reconnects.Add(1)
				return l, done, true
			} else if strings.Contains(err.Error(), "refused") {
				d.fault("%v", err)
			}
		}
		done()
	}
	return nil, nil, false
}

// pause waits a moment before another look; false when the run is over.
func (d *drive) pause() bool {
	wait := time.NewTimer(time.Millisecond)
	defer wait.Stop()
	select {
	case <-wait.C:
		return d.ctx.Err() == nil
	case <-d.ctx.Done():
		return false
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ahead reports whether the slowest subscriber is far behind.
func (d *drive) ahead() bool {
	acked := d.ledger.acked.Load()
	for _, in := range d.inboxes {
		if acked-in.first.Load() > d.lead {
			return true
		}
	}
	return false
}

// wanted reports whether a publisher of so many messages, 0 for any number until the run
// stops, has another one to publish.
func (d *drive) wanted(limit, sent int) bool {
	if d.ctx.Err() != nil {
		return false
	}
	return sent < limit || limit == 0 && !closed(d.stopping)
}

// everything is an inbox's share: all streams.
func everything(stream) bool { return true }

// patience is how long a run may make no progress before it counts as stuck.
const patience = 10 * time.Second

// drain lets the publishers end and the subscribers get all. It reports false when they do
// not: what is then missing is among the faults.
func (d *drive) drain() bool {
	d.stopOnce.Do(func() { close(d.stopping) })
	if !d.waitFor(&d.publishers) && d.ctx.Err() == nil {
		d.fault("publishers wait for acknowledgements, %d came", d.ledger.acked.Load()+d.kept.acked.Load())
		d.cancel()
		d.cut()
		return false
	}
	close(d.finishing)
	ok := d.waitFor(&d.others)
	if !ok {
		d.fault("subscribers or churners still wait")
		d.cancel()
		d.cut()
		d.others.Wait()
	}
	for _, in := range d.inboxes {
		if n, s := in.missing(everything); n > 0 {
			d.fault("%s misses %d acknowledged messages, one is %+v", in.name, n, s)
		}
	}
	return ok
}

// waitFor waits for a group, as long as something comes.
func (d *drive) waitFor(g *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	return d.await(func() bool { return closed(done) })
}

// await waits for a condition, as long as something comes.
func (d *drive) await(ok func() bool) bool {
	last, since := d.progress(), time.Now()
	for !ok() {
		if !d.pause() {
			return false
		}
		if now := d.progress(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > patience {
			return false
		}
	}
	return true
}

func (d *drive) progress() (n int64) {
	n = d.ledger.acked.Load() + d.kept.acked.Load() + d.rounds.Load()
	for _, in := range d.inboxes {
		n += in.first.Load()
	}
	return n
}

// summary tells what happened, for the record.
func (d *drive) summary() string {
	var first int64
	var duplicates, repeated int
	for _, in := range d.inboxes {
		in.mu.Lock()
		first += in.first.Load()
		duplicates += in.duplicates
		repeated += in.repeated
		in.mu.Unlock()
	}
	return fmt.Sprintf("acknowledged %d messages and %d retained, delivered %d to %d subscribers, %d again with DUP, %d repeated by publishers, %d connections, %d rounds of subscribing",
		d.ledger.acked.Load(), d.kept.acked.Load(), first, len(d.inboxes), duplicates, repeated, d.reconnects.Load(), d.rounds.Load())
}
