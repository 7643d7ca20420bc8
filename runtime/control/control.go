package control

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// Options of a Control. Dir, Key, Log, Verifier and MqttAddress are required.
type Options struct {
	Dir      string // the data directory; control.db lies in it
	Key      []byte // secrets.key, 32 bytes: seals what the store keeps of services
	Log      *slog.Logger
	Verifier *credential.Verifier
	// Logins limits wrong passwords, together with the broker; nil: the API has its own.
	Logins  *credential.Logins
	Version string // of this build, said in every answer; empty: not known

	// MqttAddress is what Cybus::MqttHost and Cybus::MqttPort stand for. It is asked from New on.
	MqttAddress func() (host string, port int)
	// Supports reports whether a driver for the protocol is built in; nil: all are.
	Supports func(protocol string) bool
	// CheckExpression compiles a JSONata expression; nil: none is checked.
	CheckExpression func(expression string) error
	// ReadOnly makes plans say that writes to machines are refused.
	ReadOnly bool

	// Broker has the figures of the broker in this process, and Clients its clients; nil: it
	// is in another one, and reports them.
	Broker  func() spec.BrokerFigures
	Clients func() []spec.ClientView

	Messages    MessageSource                        // for /messages; nil: unavailable
	Logs        *LogRing                             // for /logs; nil: unavailable
	Certificate func() (spec.CertificateView, error) // for /certificate; nil: unavailable
	Authority   *pki.Authority                       // for /authority and /join; nil: unavailable

	// JoinTokens is a directory of join tokens, each in a file that is named after the part that
	// it lets in; "": there is none. It is looked into when a part joins.
	JoinTokens string
	// MessagesCredential is the hash of the secret that MessagesIdentity logs in with at a
	// broker in another process; "": nobody can log in as it.
	MessagesCredential string
}

// Control is the control part of an instance.
type Control struct {
	opts    Options
	store   *store
	handler http.Handler

	writing    sync.Mutex // held while an apply changes objects
	model      atomic.Pointer[model]
	hashes     passwordHashes
	identities *hub[spec.Identity]

	mu        sync.Mutex                     // guards what follows
	streams   map[string]int                 // open ones, by user
	resources map[string]*hub[spec.Resource] // by agent
	agents    map[string]*agent
	watching  map[string]*watching // the live streams of parts in other processes, by name
	policy    int64                // revision that a broker in another process has in force
	broker    brokerReport         // of a broker in another process
	states    map[string]string    // of services, as the stream of events last told them

	reported signal // an agent's status moved
	access   signal // who may do what moved: a token, a user, a role
	events   *ring[Event]
	probes   *credential.Limiter // secrets compared by plans that turned out to differ
}

// New opens the store in opts.Dir, making it if there is none, and works everything out.
// A store that cannot be used is an error of kind invalid; nothing is changed then.
func New(ctx context.Context, opts Options) (*Control, error) {
	if opts.Log == nil || opts.Verifier == nil || opts.MqttAddress == nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a control part without log, verifier and MQTT address")
	}
	if opts.Logins == nil {
		opts.Logins = credential.NewLogins(opts.Verifier)
	}
	st, err := openStore(ctx, opts.Dir, opts.Key)
	if err != nil {
		return nil, err
	}
	c := &Control{
		opts: opts, store: st,
		identities: newHub[spec.Identity](st.id),
		resources:  map[string]*hub[spec.Resource]{},
		agents:     map[string]*agent{},
		watching:   map[string]*watching{},
		states:     map[string]string{},
		streams:    map[string]int{},
		events:     newRing[Event](maxEvents),
		probes:     credential.NewLimiter(100, time.Second),
	}
	if err := c.load(ctx); err != nil {
		if closeErr := st.close(); closeErr != nil {
			opts.Log.Warn("the store did not close", "error", closeErr)
		}
		return nil, err
	}
	c.handler = c.newHandler()
	return c, nil
}

// load reads the store and works out the first model.
func (c *Control) load(ctx context.Context) error {
	stored, err := c.store.load(ctx)
	if err != nil {
		return err
	}
	m := &model{
		revision: stored.revision, roles: map[string]roleRecord{}, users: map[string]userRecord{},
		parts: map[string]partRecord{}, services: map[string]*service{}, bound: map[string][]spec.Resource{}, grants: map[string]granted{},
	}
	for _, r := range stored.roles {
		m.roles[r.Name] = r
	}
	for _, u := range stored.users {
		m.users[u.Name] = u
	}
	parts, err := c.store.parts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		m.parts[p.Name] = p
	}
	for _, record := range stored.services {
		s, err := c.evaluate(record)
		if err != nil {
			return spec.Errorf(spec.Invalid, "cannot use service %q of the store: %w", record.ID, err)
		}
		for _, d := range s.errors {
			c.opts.Log.Error("a stored service is refused by this build", "service", record.ID, "diagnostic", d.String())
		}
		m.services[record.ID] = s
	}
	c.bring(m)
	c.rebind(m, nil)
	c.publish(m)
	return nil
}

// publish makes m the model and tells all parts.
func (c *Control) publish(m *model) {
	identities := c.identitiesOf(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.model.Store(m)
	c.access.raise()
	c.identities.set(m.revision, identities)
	byAgent := m.resourcesByAgent()
	for name := range byAgent {
		c.hubLocked(name)
	}
	for name, h := range c.resources {
		h.set(m.revision, byAgent[name])
	}
}

// hubLocked returns an agent's hub. c.mu is held.
func (c *Control) hubLocked(agent string) *hub[spec.Resource] {
	h, ok := c.resources[agent]
	if !ok {
		h = newHub[spec.Resource](c.store.id)
		h.before = c.identities.await // what a resource publishes is permitted by then
		c.resources[agent] = h
	}
	return h
}

// resourcesByAgent sorts what is bound by the mapper that is to run it.
func (m *model) resourcesByAgent() map[string]map[string]spec.Resource {
	byAgent := map[string]map[string]spec.Resource{}
	for id, resources := range m.bound {
		agents := m.services[id].agents
		for _, r := range resources {
			name := agents[r.ID]
			if byAgent[name] == nil {
				byAgent[name] = map[string]spec.Resource{}
			}
			byAgent[name][r.Key()] = r
		}
	}
	return byAgent
}

// Resources is the desired state of one mapper.
func (c *Control) Resources(agent string) spec.Watch[spec.Resource] {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.resources[agent]
	if !ok {
		h = c.hubLocked(agent)
		m := c.model.Load()
		h.set(m.revision, m.resourcesByAgent()[agent])
	}
	return h
}

// Identities is the broker's policy.
func (c *Control) Identities() spec.Watch[spec.Identity] { return c.identities }

// Handler serves /api.
func (c *Control) Handler() http.Handler { return c.handler }

// Ready reports whether the store answers.
func (c *Control) Ready(ctx context.Context) error {
	if err := c.store.db.PingContext(ctx); err != nil {
		return c.store.failed(err)
	}
	return nil
}

// Revision is that of the last change.
func (c *Control) Revision() int64 { return c.model.Load().revision }

// Run does what must be done from time to time until ctx ends, then closes the store.
// Requests must have ended by then.
func (c *Control) Run(ctx context.Context) error {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for {
		if err := c.store.touch(ctx, func(tx *transaction) error {
			return errors.Join(tx.deleteExpired(time.Now()), tx.deleteExpiredJoinTokens(time.Now()))
		}); err != nil && ctx.Err() == nil {
			c.opts.Log.Warn("expired tokens stay", "error", err)
		}
		select {
		case <-ctx.Done():
			c.writing.Lock() // lets an apply end its object
			defer c.writing.Unlock()
			return c.store.close()
		case <-tick.C:
		}
	}
}

const housekeeping = 10 * time.Minute

// Close closes the store of a Control whose Run was never called.
func (c *Control) Close() error { return c.store.close() }

// passwordHashes remembers the hashes of the passwords that files bring, since each costs 30 ms.
type passwordHashes struct {
	mu    sync.Mutex
	known map[string]hashedPassword // by user name
}

type hashedPassword struct{ password, hash string }

// of returns the hash of a user's password, made at most once.
func (p *passwordHashes) of(name, password string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.known[name]; ok && known.password == password {
		return known.hash, nil
	}
	hash, err := credential.HashPassword(password)
	if err != nil {
		return "", err
	}
	if p.known == nil {
		p.known = map[string]hashedPassword{}
	}
	p.known[name] = hashedPassword{password, hash}
	return hash, nil
}

// keep forgets everybody else.
func (p *passwordHashes) keep(passwords map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.known, func(name string, _ hashedPassword) bool { _, ok := passwords[name]; return !ok })
}
