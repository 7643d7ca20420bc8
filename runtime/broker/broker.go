// Package broker is the instance's MQTT broker behind a small type of our own. Whoever
// speaks to it, over the network or in process, acts as an identity, and every publish,
// subscription and delivery is checked against a compiled policy, default deny.
//
// Network sessions and in-process subscribers live in one index and are served by one route,
// so that order, retained messages and permissions mean the same for both. Of the library
// mochi-mqtt only the packet codec is used: its session layer lets one connection end the
// process, and loses, reorders and stalls messages, which no hook can mend. Each decoder call and
// each goroutine of a connection runs under recover: a panic ends that connection only.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// Options of a broker.
type Options struct {
	Dir   string // the data directory's broker/: the policy's last copy, and the journal of messages and sessions
	Watch spec.Watch[spec.Identity]
	Log   *slog.Logger
	// Login returns which of the hashes the secret belongs to, "" for none; a
	// *credential.LimitedError for who has guessed too often (credential.Logins.Verify).
	Login  func(ctx context.Context, a credential.Attempt, hashes []string) (hash string, err error)
	Limits Limits // what is zero takes its default
	// Storage is what the journal writes through; nil is the operating system's files.
	Storage journal.FS

	segmentBytes int64 // of the journal's files, for tests: small ones are compacted soon
}

// Broker is one running broker.
type Broker struct {
	opts   Options
	limits Limits
	log    *slog.Logger
	stats  counters

	policy   atomic.Pointer[policy]
	synced   chan struct{}
	syncOnce sync.Once

	// mu orders subscribing against routing: a route holds it shared, so that one who
	// subscribes holds back no message for long, and sees each either retained or live. Before
	// order, which is before a session's mu.
	mu          sync.RWMutex
	index       index
	sessions    map[sessionKey]*session
	numbered    map[uint32]*session
	lastSession uint32
	filterBytes int // of all network clients' subscriptions
	locals      map[*subscriber]*subscription
	closed      bool

	// order makes the order of records in the journal that of what they are about.
	order   sync.Mutex
	journal *journal.Journal
	scratch []byte // a record being made
	garbage []leftover

	retained                    *retained
	buffered                    atomic.Int64 // bytes that wait in memory for network clients
	parked                      atomic.Int64 // bytes from network clients that wait for the disk
	queuedBytes, queuedMessages atomic.Int64 // that wait on disk

	bodies, connects *semaphore.Weighted // the bytes of large packets that are being read; before the log-in

	connections sync.WaitGroup
	connsMu     sync.Mutex
	conns       map[*conn]struct{} // network connections, with or without a session; nil after the end
}

// New opens the broker with the policy, the sessions, their queues and the retained messages
// that Dir holds. Nothing runs yet, and nothing comes to disk, but Publish (of QoS 0) and
// Subscribe work.
func New(opts Options) (*Broker, error) {
	if opts.Login == nil {
		return nil, spec.Errorf(spec.Internal, "cannot open the broker: Options.Login is missing")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Storage == nil {
		opts.Storage = journal.OS()
	}
	if err := makeDir(opts); err != nil {
		return nil, err
	}
	if err := atomicfile.RemoveLeftovers(opts.Dir); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot tidy the broker's directory: %w", err)
	}
	b := &Broker{
		opts: opts, limits: opts.Limits.WithDefaults(), log: opts.Log,
		synced:   make(chan struct{}),
		sessions: map[sessionKey]*session{}, numbered: map[uint32]*session{}, conns: map[*conn]struct{}{},
		locals: map[*subscriber]*subscription{},
	}
	b.bodies = semaphore.NewWeighted(int64(max(b.limits.TotalPacketBytes, b.limits.PacketBytes)))
	b.connects = semaphore.NewWeighted(totalConnects)
	b.retained = newRetained(b.limits, b.log)
	b.policy.Store(&policy{})
	if err := b.loadPolicy(); err != nil {
		return nil, err
	}
	return b, b.openJournal()
}

// makeDir makes the directory last: of the journal in it, it is told what is acknowledged.
func makeDir(opts Options) error {
	err := os.MkdirAll(opts.Dir, 0o700) // for the policy's file
	if err == nil {
		err = opts.Storage.MkdirAll(opts.Dir)
	}
	if err == nil {
		err = opts.Storage.SyncDir(filepath.Dir(opts.Dir))
	}
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot make the broker's directory: %w", err)
	}
	return nil
}

// openJournal reads back what the journal holds.
func (b *Broker) openJournal() error {
	r := newRecovery(b)
	var err error
	b.journal, err = journal.Open(journal.Options{
		FS: b.opts.Storage, Dir: filepath.Join(b.opts.Dir, "journal"), Log: b.log, Move: b.move, SegmentBytes: b.opts.segmentBytes,
	}, r.replay)
	if err != nil {
		return err
	}
	r.finish(b.journal)
	return nil
}

// Run serves the listeners and follows the watch until ctx ends, then disconnects all
// clients, ends all in-process subscriptions and returns. The listeners are closed by it. A broker runs once.
func (b *Broker) Run(ctx context.Context, listeners ...net.Listener) error {
	journalCtx, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJournal()
	journalEnded := make(chan error, 1)
	go func() { journalEnded <- b.journal.Run(journalCtx) }()
	g, ctx := errgroup.WithContext(ctx)
	if b.opts.Watch != nil {
		g.Go(func() error { b.follow(ctx); return nil })
	}
	g.Go(func() error { b.housekeep(ctx); return nil })
	for _, l := range listeners {
		g.Go(func() error { return b.accept(ctx, l) })
	}
	g.Go(func() error {
		<-ctx.Done()
		b.stopConnections()
		for _, l := range listeners {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				b.log.Warn("cannot close a listener", "address", l.Addr().String(), "error", err)
			}
		}
		return nil
	})
	err := g.Wait()
	b.connections.Wait()
	b.shut()
	stopJournal()
	return errors.Join(err, <-journalEnded)
}

// stopConnections ends all network connections and lets no new ones in.
func (b *Broker) stopConnections() {
	b.connsMu.Lock()
	conns := b.conns
	b.conns = nil
	b.connsMu.Unlock()
	for c := range conns {
		c.stop(errShutdown)
	}
}

// shut ends the in-process subscriptions and lets no new ones in.
func (b *Broker) shut() {
	b.mu.Lock()
	b.closed = true
	locals := maps.Clone(b.locals)
	b.mu.Unlock()
	for to, s := range locals {
		b.removeLocal(to, s)
	}
}

// Synced is closed when the first policy, from disk or from the watch, is in force.
func (b *Broker) Synced() <-chan struct{} { return b.synced }

// Revision returns the policy revision that is in force.
func (b *Broker) Revision() int64 { return b.policy.Load().revision }

// Message is one application message. Publisher and subscribers share the payload: nobody
// changes it after Publish.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool // delivered: the message was retained when the subscription was made
}

// Publish takes one message in as the identity and returns when every in-process subscriber
// has queued it and the network's clients have been handed it; with QoS 1 and 2 also when it
// is on disk for the clients that must not lose it, and as its topic's retained one. While the
// disk takes nothing, these wait until ctx ends. It fails with kind Forbidden where the policy
// refuses, Invalid for a bad topic.
//
// A full in-process subscriber holds the publisher back until there is room. One that
// delivers nothing for 30 s loses its copy, counted and logged. Kind Unavailable means that
// nobody got the message, since the broker has stopped; Conflict, that all got it but one
// whose queue is full, because ctx ended. A callback of Subscribe should leave publishing to
// another goroutine: where it fills its own queue, in a loop, it waits the 30 s for itself.
func (b *Broker) Publish(ctx context.Context, as string, m Message) error {
	if m.QoS > 2 {
		return spec.Errorf(spec.Invalid, "cannot publish to %q with QoS %d: it is 0, 1 or 2", m.Topic, m.QoS)
	}
	if err := b.mayPublish(as, m.Topic); err != nil {
		return err
	}
	durable := m.QoS > 0 || m.Retain
	if durable && !b.journal.HasRoom() {
		if err := b.journal.Room(ctx); err != nil {
			return err
		}
	}
	b.stats.received.Add(1)
	at, err := b.route(ctx, &message{Message: m}, patient)
	if err != nil || m.QoS == 0 || b.onDisk(at) {
		return err
	}
	return b.journal.Await(ctx, at)
}

// mayPublish checks the topic and the policy.
func (b *Broker) mayPublish(as, topic string) error {
	if b.policy.Load().identities[as].may(spec.Write, topic) {
		return nil // only valid topics are remembered as permitted
	}
	if err := spec.CheckTopic(topic); err != nil {
		return err
	}
	b.stats.refused.Add(1)
	return spec.Errorf(spec.Forbidden, "cannot publish to %q: %q has no permission to write it", topic, as)
}

// Subscribe delivers matching messages in order from one goroutine, retained ones first.
// While deliver blocks, messages queue up to a bound and then hold publishers back. The
// subscription ends with stop, with ctx, or with Run. Stop returns after the last deliver
// has returned, so deliver itself must not call it. The filter may be a shared one ("$share/GROUP/FILTER").
func (b *Broker) Subscribe(ctx context.Context, as, filter string, qos byte, deliver func(Message)) (stop func(), err error) {
	sub, err := parseFilter(filter)
	if err != nil {
		return nil, err
	}
	if qos > 2 {
		return nil, spec.Errorf(spec.Invalid, "cannot subscribe to %q with QoS %d: it is 0, 1 or 2", filter, qos)
	}
	sub.qos = qos
	return b.subscribeLocal(ctx, as, sub, deliver)
}
