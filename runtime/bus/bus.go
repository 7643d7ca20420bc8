// Package bus is a part's way to a broker in another process: MQTT 5, with a queue on disk.
//
// Each identity publishes over a connection of its own, logged in as itself, so that the broker
// decides what it may do, as in one process. A message is kept until the broker has it: one of
// QoS 1 and 2 until it is acknowledged, one of QoS 0 until a PINGRESP shows that the broker has
// read what was sent before (MQTT 5.0 clause 4.6: it works on what one client sends in order). While
// the link stands all that is in memory; when it is lost, or the broker is slow, it goes to disk,
// within bounds of bytes and age. Order is kept within an identity. A message may arrive twice
// after a link was lost (at QoS 2, only if this process or the broker's session was lost too).
package bus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// Options of a bus. Dial, Secret, Client and Log are required.
type Options struct {
	Dial   func(ctx context.Context) (net.Conn, error) // opens a connection to the broker, TLS included
	Secret func() (string, error)                      // the password, whichever identity logs in
	Client string                                      // begins the client ids: unique among all who use the broker
	// Fleeting says for which filters the broker keeps nothing while the link is lost: a request that
	// waited would be carried out when nobody expects it any more. nil: it keeps for all.
	Fleeting func(filter string) bool
	Dir      string // of the queue; "": what waits is in memory only
	// MaxBytes bounds what waits on disk (default 256 MiB) and MaxAge for how long (default a
	// week). Past either, the oldest is dropped and counted.
	MaxBytes int64
	MaxAge   time.Duration
	Log      *slog.Logger
	Storage  journal.FS // nil: the operating system's files
}

const (
	defaultMaxBytes = 256 << 20
	defaultMaxAge   = 7 * 24 * time.Hour
)

// Stats are figures of a bus; the counters begin at its start.
type Stats struct {
	Queued      int64 // messages that wait
	QueuedBytes int64 // of those, on disk
	Sent        int64 // that the broker has taken
	Dropped     int64 // by the bounds of bytes and age, and that the disk did not take
	Refused     int64 // by the broker, or too large for it
}

// Bus implements mapper.Bus.
type Bus struct {
	o       Options
	log     *slog.Logger
	journal *journal.Journal // nil: none

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	ended   bool
	lanes   map[string]*lane // by identity
	seq     uint64           // of the last message
	clients map[string]bool  // client ids of the subscriptions
	stats   Stats
	warned  time.Time // when drops were last logged
	workers sync.WaitGroup
}

var _ mapper.Bus = (*Bus)(nil)

// Open reads the queue. Nothing is sent before Run.
func Open(o Options) (*Bus, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxAge <= 0 {
		o.MaxAge = defaultMaxAge
	}
	b := &Bus{o: o, log: o.Log, lanes: map[string]*lane{}, clients: map[string]bool{}}
	if o.Dir == "" {
		return b, nil
	}
	if err := b.openQueue(); err != nil {
		return nil, err
	}
	return b, nil
}

// Run sends what waits until ctx ends. What the broker has not taken by then is put on disk.
func (b *Bus) Run(ctx context.Context) error {
	journalCtx, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJournal()
	journalEnded := make(chan error, 1)
	if b.journal == nil {
		journalEnded <- nil
	} else {
		go func() { journalEnded <- b.journal.Run(journalCtx) }()
	}
	b.mu.Lock()
	b.ctx = ctx
	for _, l := range b.lanes {
		b.startLane(l)
	}
	b.mu.Unlock()
	b.tend(ctx)
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.workers.Wait()
	stopJournal()
	return <-journalEnded
}

// tend drops what is too old, until ctx ends.
func (b *Bus) tend(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.mu.Lock()
			for _, l := range b.lanes {
				b.expire(l, time.Now())
			}
			b.mu.Unlock()
		}
	}
}

// Close closes the queue of a Bus whose Run was never called.
func (b *Bus) Close() error {
	if b.journal == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return b.journal.Run(ctx)
}

// Stats returns the figures of now.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Publish takes a message over. With QoS 1 and 2 it returns when the broker has acknowledged the
// message, or it is on disk because the broker is away or slow; with QoS 0 at once. It fails with the kinds that mapper.Bus tells of.
func (b *Bus) Publish(ctx context.Context, as string, m mapper.Message) error {
	if m.QoS > 2 {
		return spec.Errorf(spec.Invalid, "cannot publish to %q with QoS %d: it is 0, 1 or 2", m.Topic, m.QoS)
	}
	if err := spec.CheckTopic(m.Topic); err != nil {
		return err
	}
	if b.journal != nil && !b.journal.HasRoom() {
		if err := b.journal.Room(ctx); err != nil {
			return err
		}
	}
	taken, err := b.enqueue(as, m)
	if err != nil || taken == nil {
		return err
	}
	select {
	case err := <-taken:
		return err
	case <-ctx.Done():
		return spec.Errorf(spec.Conflict, "cannot wait for the broker any longer; the message may arrive: %w", ctx.Err())
	}
}

// enqueue puts a message at its lane's end. What it returns, not nil for QoS 1 and 2, tells how it went.
func (b *Bus) enqueue(as string, m mapper.Message) (<-chan error, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil, spec.Errorf(spec.Unavailable, "cannot publish to %q: the bus has stopped", m.Topic)
	}
	l := b.lane(as)
	if b.journal == nil && l.inMemory >= memoryMessages {
		return nil, spec.Errorf(spec.Unavailable, "cannot publish to %q: the broker is away", m.Topic)
	}
	b.seq++
	e := &entry{seq: b.seq, message: &m, qos: m.QoS, since: time.Now()}
	var taken chan error
	if m.QoS > 0 {
		taken = make(chan error, 1)
		e.taken = taken
	}
	l.push(e)
	b.stats.Queued++
	if b.journal != nil && (!l.up || l.inMemory > memoryMessages) {
		b.spill(l)
	}
	signal(l.kick)
	return taken, nil
}

// lane returns an identity's lane, made where there is none. The caller has the lock.
func (b *Bus) lane(as string) *lane {
	l, ok := b.lanes[as]
	if !ok {
		l = &lane{as: as, kick: make(chan struct{}, 1), inUse: map[uint16]*entry{}, releasing: map[uint16]bool{}}
		b.lanes[as] = l
		if b.ctx != nil {
			b.startLane(l)
		}
	}
	return l
}

// startLane runs a lane's goroutine. The caller has the lock.
func (b *Bus) startLane(l *lane) {
	ctx := b.ctx
	b.workers.Go(func() { b.serve(ctx, l) })
}

// Subscribe implements mapper.Bus over a connection of its own: one that blocks holds back no other.
func (b *Bus) Subscribe(ctx context.Context, as, filter string, qos byte, deliver func(mapper.Message)) (func(), error) {
	if qos > 2 {
		return nil, spec.Errorf(spec.Invalid, "cannot subscribe to %q with QoS %d: it is 0, 1 or 2", filter, qos)
	}
	if err := spec.CheckFilter(filter); err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.ctx == nil || b.ended {
		b.mu.Unlock()
		return nil, spec.Errorf(spec.Unavailable, "cannot subscribe to %q: the bus does not run", filter)
	}
	s := newSubscriber(b, as, filter, qos, deliver)
	running, cancel := context.WithCancel(b.ctx)
	b.workers.Go(func() { s.run(running) })
	b.mu.Unlock()
	release := context.AfterFunc(ctx, cancel)
	stop := func() {
		release()
		cancel()
		<-s.done
	}
	select {
	case err := <-s.first:
		if err != nil {
			stop()
			return nil, err
		}
		return stop, nil
	case <-ctx.Done():
		stop()
		return nil, spec.Errorf(spec.Unavailable, "cannot subscribe to %q: %w", filter, ctx.Err())
	}
}

// stops reports whether Run's context has ended.
func (b *Bus) stops() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ctx.Err() != nil
}

// lost tells a part's own end from a link's.
func lost(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled)
}

// signal leaves a message in a channel of capacity 1, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
