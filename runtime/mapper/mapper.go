package mapper

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/millwright/millwright/internal/spec"
)

// Options of a mapper.
type Options struct {
	Agent   string // this mapper's name in status reports
	Dir     string // keeps the desired state's last copy, encrypted; made if it is not there
	Key     []byte // 32 bytes for that copy; must lie outside Dir
	Drivers []Driver
	Bus     Bus
	Watch   spec.Watch[spec.Resource]
	// Report takes a status report. After an error the next report is a full one.
	Report            func(ctx context.Context, s spec.AgentStatus) error
	ClientCertificate func() (tls.Certificate, error) // see Config
	ReadOnly          bool                            // refuse every write to a machine
	Log               *slog.Logger
}

// Mapper moves what runs to what is desired, resource by resource.
type Mapper struct {
	opts      Options
	drivers   map[string]Driver // by lower-case protocol name
	cache     *cache
	abandoned atomic.Int64 // calls to drivers that never returned
	revision  atomic.Int64 // desired state that has been taken over

	mu    sync.Mutex
	units map[string]unit // by resource key

	synced   chan struct{} // closed when a desired state was taken over
	changed  chan struct{} // capacity 1: a status changed
	takeover chan struct{} // capacity 1: a revision was taken over
	recheck  atomic.Bool   // the next report must be a full one
}

// unit is one resource at work.
type unit interface {
	// start begins the work and returns at once.
	start(ctx context.Context)
	// halt takes no further input and returns at once.
	halt()
	// finish waits until what is under way has ended, and abandons it when ctx ends.
	finish(ctx context.Context)
	status() spec.ResourceStatus
}

// New checks the options and opens the copy of the desired state. Nothing runs yet.
func New(opts Options) (*Mapper, error) {
	if opts.Bus == nil || opts.Watch == nil || opts.Report == nil || opts.Log == nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a mapper without bus, watch, report and log")
	}
	cache, err := openCache(opts.Dir, opts.Agent, opts.Key)
	if err != nil {
		return nil, err
	}
	m := &Mapper{
		opts:     opts,
		drivers:  map[string]Driver{},
		cache:    cache,
		units:    map[string]unit{},
		synced:   make(chan struct{}),
		changed:  make(chan struct{}, 1),
		takeover: make(chan struct{}, 1),
	}
	for _, d := range opts.Drivers {
		m.drivers[strings.ToLower(d.Spec.Name)] = d
	}
	return m, nil
}

// Run works until ctx ends, and returns when everything is stopped. Machines that hang are
// abandoned, not waited for. It returns nil after ctx has ended.
func (m *Mapper) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	mail := newMailbox()
	cached := m.cache.load(m.opts.Log)
	if cached.resources != nil {
		mail.put(cached)
	}
	parts.Go(func() { m.follow(ctx, cached, mail) })
	parts.Go(func() { m.reportLoop(ctx, cached.resources != nil) })
	m.reconcileLoop(ctx, mail, cached.cursor)
	parts.Wait()
	return nil
}

// Status returns every resource's status, by key.
func (m *Mapper) Status() []spec.ResourceStatus {
	m.mu.Lock()
	units := make([]unit, 0, len(m.units))
	for _, u := range m.units {
		units = append(units, u)
	}
	m.mu.Unlock()
	all := make([]spec.ResourceStatus, len(units))
	for i, u := range units {
		all[i] = u.status()
	}
	slices.SortFunc(all, func(a, b spec.ResourceStatus) int { return strings.Compare(a.Key(), b.Key()) })
	return all
}

// Revision returns the revision of the desired state that has been taken over (0: none yet).
func (m *Mapper) Revision() int64 { return m.revision.Load() }

// Synced is closed when the first desired state, from the disk or the watch, was taken over.
func (m *Mapper) Synced() <-chan struct{} { return m.synced }

// Abandoned counts the calls to drivers that were given up because they never returned.
func (m *Mapper) Abandoned() int64 { return m.abandoned.Load() }

// touch wakes the reporter.
func (m *Mapper) touch() { wake(m.changed) }

// wake sends to a channel of capacity 1 unless something waits in it already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
