package mapper

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// stopTimeout is how long resources that are stopped together may take to publish what they hold.
const stopTimeout = 2 * time.Second

// The types that a mapper runs.
const (
	typeConnection = "Connection"
	typeEndpoint   = "Endpoint"
	typeMapping    = "Mapping"
)

// reconciler moves the running units to the desired resources. One goroutine owns it.
type reconciler struct {
	m       *Mapper
	ctx     context.Context
	running map[string]spec.Resource
	starts  map[string]uint64
	needs   map[string][]string // by key: the connections that the resource uses
}

// reconcileLoop takes over each desired state, the newest only, until ctx ends; then it stops
// everything. Saved is the cursor of the copy on disk.
func (m *Mapper) reconcileLoop(ctx context.Context, mail *mailbox, saved string) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &reconciler{m: m, ctx: work, running: map[string]spec.Resource{}, starts: map[string]uint64{}, needs: map[string][]string{}}
	first := sync.OnceFunc(func() { close(m.synced) })
	for {
		select {
		case d := <-mail.newest:
			r.apply(d.resources)
			m.revision.Store(d.revision)
			first()
			wake(m.takeover)
			if d.cursor == saved {
				continue
			}
			if err := m.cache.save(d); err != nil {
				m.opts.Log.Error("cannot keep a copy of the desired state; a restart without the control part would miss it",
					"file", m.cache.path, "error", err)
				continue
			}
			saved = d.cursor
		case <-ctx.Done():
			r.apply(nil)
			return
		}
	}
}

// apply stops and starts what differs from desired, and nothing else.
func (r *reconciler) apply(want map[string]spec.Resource) {
	stop, start := r.diff(want)
	r.stop(stop)
	for _, key := range stop {
		delete(r.running, key)
		delete(r.needs, key)
		if _, stays := want[key]; !stays {
			delete(r.starts, key)
		}
	}
	slices.SortFunc(start, func(a, b string) int { return byType(want[a], want[b]) })
	r.start(start, want)
	if len(stop)+len(start) > 0 {
		r.m.opts.Log.Info("desired state taken over", "stopped", len(stop), "started", len(start), "resources", len(want))
	}
}

// diff lists what must be stopped and what started. A resource that uses a changed connection
// is restarted with it.
func (r *reconciler) diff(want map[string]spec.Resource) (stop, start []string) {
	changed := map[string]bool{}
	for key, old := range r.running {
		if now, stays := want[key]; !stays || !same(old, now) {
			changed[key] = true
		}
	}
	for key := range want {
		if _, runs := r.running[key]; !runs {
			changed[key] = true
		}
	}
	for key := range r.running {
		if slices.ContainsFunc(r.needs[key], func(c string) bool { return changed[c] }) {
			changed[key] = true
		}
	}
	for _, key := range sortedKeys(changed) {
		if _, runs := r.running[key]; runs {
			stop = append(stop, key)
		}
		if _, wanted := want[key]; wanted {
			start = append(start, key)
		}
	}
	return stop, start
}

func same(a, b spec.Resource) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Type == b.Type && a.Generation == b.Generation && string(a.Properties) == string(b.Properties)
}

// byType orders connections before those who use them.
func byType(a, b spec.Resource) int {
	rank := map[string]int{typeConnection: 0, typeEndpoint: 1, typeMapping: 2}
	if d := rank[a.Type] - rank[b.Type]; d != 0 {
		return d
	}
	return strings.Compare(a.Key(), b.Key())
}

// stop ends units: first those that use connections, then the connections; all of a kind at once.
func (r *reconciler) stop(keys []string) {
	var users, connections []unit
	r.m.mu.Lock()
	for _, key := range keys {
		u := r.m.units[key]
		if _, ok := u.(*connection); ok {
			connections = append(connections, u)
		} else {
			users = append(users, u)
		}
	}
	r.m.mu.Unlock()
	stopAll(users)
	stopAll(connections)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for _, key := range keys {
		delete(r.m.units, key)
	}
}

func stopAll(units []unit) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, u := range units {
		u.halt()
	}
	for _, u := range units {
		all.Go(func() { u.finish(ctx) })
	}
	all.Wait()
}

// start makes units, connections first, and starts them, connections last: they find all their
// users attached, and subscribe for them in one call.
func (r *reconciler) start(keys []string, want map[string]spec.Resource) {
	units := make([]unit, 0, len(keys))
	for _, key := range keys {
		r.starts[key]++
		r.running[key] = want[key]
		u := r.build(want[key])
		units = append(units, u)
		r.m.mu.Lock()
		r.m.units[key] = u
		r.m.mu.Unlock()
	}
	for _, u := range slices.Backward(units) {
		u.start(r.ctx)
	}
	r.m.touch()
}

// build makes the unit of a resource. What cannot run becomes a dead unit that says why.
func (r *reconciler) build(res spec.Resource) unit {
	log := r.m.opts.Log.With("service", res.Service, "resource", res.ID)
	var u unit
	var err error
	switch res.Type {
	case typeConnection:
		u, err = r.connection(res, log)
	case typeEndpoint:
		u, err = r.endpoint(res, log)
	case typeMapping:
		u, err = r.mapping(res, log)
	default:
		err = unsupportedError("this build cannot run resources of type " + res.Type)
	}
	if err == nil {
		return u
	}
	state := spec.StateFailed
	var unsupported unsupportedError
	if errors.As(err, &unsupported) {
		state = spec.StateUnknown
	}
	log.Warn("the resource cannot run", "error", err)
	return newDead(r.m, res, r.starts[res.Key()], state, err.Error())
}

// unsupportedError says what this build lacks.
type unsupportedError string

func (e unsupportedError) Error() string { return string(e) }

func (r *reconciler) connection(res spec.Resource, log *slog.Logger) (unit, error) {
	cfg, err := commissioning.Decode[commissioning.Connection](res.Properties)
	if err != nil {
		return nil, err
	}
	driver, ok := r.m.drivers[strings.ToLower(cfg.Protocol)]
	if !ok {
		return nil, unsupportedError("this build has no driver for protocol " + cfg.Protocol)
	}
	properties, err := json.Marshal(cfg.Connection)
	if err != nil {
		return nil, err
	}
	var connector Connector
	if panicked := guard(func() {
		connector, err = driver.New(Config{
			Name: res.Key(), Properties: properties, Log: log, ClientCertificate: r.m.opts.ClientCertificate,
		})
	}); panicked != nil {
		err = panicked
	}
	if err != nil {
		return nil, err
	}
	c := newConnection(r.m, res, r.starts[res.Key()], cfg, connector, log)
	if cfg.TargetState == string(spec.StateDisconnected) {
		return idleConnection{c}, nil
	}
	return c, nil
}

func (r *reconciler) endpoint(res spec.Resource, log *slog.Logger) (unit, error) {
	cfg, err := commissioning.Decode[commissioning.Endpoint](res.Properties)
	if err != nil {
		return nil, err
	}
	if cfg.TargetState == spec.StateDisabled {
		return newDead(r.m, res, r.starts[res.Key()], spec.StateDisabled, ""), nil
	}
	if _, ok := r.m.drivers[strings.ToLower(cfg.Protocol)]; !ok {
		return nil, unsupportedError("this build has no driver for protocol " + cfg.Protocol)
	}
	conn, err := r.find(res, cfg.Connection)
	if err != nil {
		return nil, err
	}
	return newEndpoint(r.m, res, r.starts[res.Key()], cfg, conn, log)
}

func (r *reconciler) mapping(res spec.Resource, log *slog.Logger) (unit, error) {
	cfg, err := commissioning.Decode[commissioning.Mapping](res.Properties)
	if err != nil {
		return nil, err
	}
	if cfg.TargetState == spec.StateDisabled {
		return newDead(r.m, res, r.starts[res.Key()], spec.StateDisabled, ""), nil
	}
	find := func(name string) (*connection, error) { return r.find(res, name) }
	return newMapping(r.m, res, r.starts[res.Key()], cfg, find, log)
}

// find returns the connection that a resource names, and notes that it is needed.
func (r *reconciler) find(user spec.Resource, name string) (*connection, error) {
	key := name
	if !strings.Contains(name, "::") {
		key = spec.ResourceKey(user.Service, name)
	}
	r.needs[user.Key()] = append(r.needs[user.Key()], key)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	switch u := r.m.units[key].(type) {
	case *connection:
		return u, nil
	case idleConnection:
		return u.connection, nil
	case dead:
		s := u.status()
		if s.State == spec.StateUnknown {
			return nil, unsupportedError(s.Error)
		}
		return nil, spec.Errorf(spec.Invalid, "connection %q is %s: %s", name, s.State, s.Error)
	}
	return nil, spec.Errorf(spec.Invalid, "connection %q does not exist", name)
}
