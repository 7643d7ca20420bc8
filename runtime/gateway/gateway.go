// Package gateway wires the parts of the runtime: broker, mapper and control. It owns the
// data directory, the listeners and the order in which parts start and stop. In one process
// the parts call each other through the interfaces that HTTP streams carry between containers.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
	"github.com/millwright/millwright/runtime/bus"
	"github.com/millwright/millwright/runtime/control"
	"github.com/millwright/millwright/runtime/link"
	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/modbus"
	"github.com/millwright/millwright/runtime/mapper/mqtt"
	"github.com/millwright/millwright/runtime/mapper/opcua"
	"github.com/millwright/millwright/runtime/web"
)

// Options of a gateway.
type Options struct {
	DataDir     string
	ListenHTTP  string // address of the API
	ListenMQTT  string // address of the broker
	ListenHTTPS string // those over TLS, and of MQTT over WebSocket; "" for none
	ListenMQTTS string
	ListenWS    string
	ListenWSS   string
	// ListenHTTPRedirect is the address that sends everyone to the API over TLS; "" for none.
	// PublicHTTPSPort is the port that clients reach that at; 0: the one of ListenHTTPS.
	ListenHTTPRedirect string
	PublicHTTPSPort    int
	TLSCertificate     string   // PEM files of the listeners that speak TLS; read again when they change
	TLSKey             string   // both empty: the instance's own authority makes a certificate, and renews it
	Hosts              []string // what that certificate is valid for beside this host's own name and loopback
	ReadOnly           bool     // refuse every write to machines
	InsecureListen     bool     // allow plain listeners on addresses that are not loopback
	Parts              Parts    // which parts this process runs; none: all
	Remote             Remote   // where the others are
	Limits             broker.Limits
	Version            string
	Log                *slog.Logger
}

// Gateway is one instance in this process.
type Gateway struct {
	opts      Options
	log       *slog.Logger
	dir       *dataDir
	bound     listeners
	authority *pki.Authority
	control   *control.Control
	broker    *broker.Broker
	mapper    *mapper.Mapper
	page      *web.Page
	deployer  *deployer  // made by Bootstrap
	link      *link.Link // to a control part in another process
	bus       *bus.Bus   // to a broker in another process
	relay     *relay     // of clients to that
	server    *http.Server
}

// drivers lists the protocols that this build can run.
func drivers() []mapper.Driver {
	return []mapper.Driver{opcua.Driver(), modbus.Driver(), mqtt.Driver()}
}

// keptLogLines is how many records GET /api/v1/logs reaches back.
const keptLogLines = 2000

// New opens the data directory, binds the listeners and makes the parts; nothing runs yet.
// What cannot be used is refused before anything is changed. Close releases what New took.
func New(ctx context.Context, opts Options) (_ *Gateway, err error) {
	if opts.Parts, err = opts.Parts.check(&opts); err != nil {
		return nil, err
	}
	g := &Gateway{opts: opts}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if err = g.bound.bind(&opts); err != nil {
		return nil, err
	}
	if g.dir, err = openDataDir(opts.DataDir, opts.Version); err != nil {
		return nil, err
	}
	return g, g.wire(ctx)
}

// wire makes the parts and introduces them to each other.
func (g *Gateway) wire(ctx context.Context) (err error) {
	ring := control.NewLogRing(g.opts.Log.Handler(), keptLogLines)
	g.log = slog.New(ring)
	if err = g.secure(); err != nil {
		return err
	}
	certificate := newClientCertificate(g.dir)
	verifier := credential.NewVerifier()
	logins := credential.NewLogins(verifier)
	secret := credential.Generate("")
	if g.opts.Parts.Control {
		if g.control, err = g.newControl(ctx, verifier, logins, certificate, ring, secret); err != nil {
			return err
		}
	}
	if err = g.connect(secret); err != nil {
		return err
	}
	if g.opts.Parts.Broker {
		if g.broker, err = g.newBroker(logins); err != nil {
			return err
		}
	}
	if g.opts.Parts.Mapper {
		if g.mapper, err = g.newMapper(certificate); err != nil {
			return err
		}
	}
	if g.opts.Parts.Control {
		if g.page, err = g.newPage(); err != nil {
			return err
		}
		if err = g.joinWebSocket(); err != nil {
			return err
		}
	}
	g.server = &http.Server{Handler: g.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	return nil
}

// secure opens the instance's certificate authority, or the part's membership of it, and gives
// the listeners their certificate.
func (g *Gateway) secure() (err error) {
	hosts := serverHosts(g.opts.Hosts, g.bound.https, g.bound.mqtts, g.bound.wss)
	var own source
	if g.opts.Parts.Control {
		if g.authority, err = loadAuthority(g.dir); err != nil {
			return err
		}
		hosts = append(hosts, pki.ControlName, pki.BrokerName)
		if own, err = loadOwnCertificate(g.dir, g.authority, hosts, g.log); err != nil {
			return err
		}
		g.bound.parts = g.authority.Pool()
	} else {
		if g.link, err = g.newLink(hosts); err != nil {
			return err
		}
		own = joinedSource{g.link}
		g.bound.relayed = g.partsPool
	}
	g.bound.certificate = own
	if g.bound.given != nil {
		g.bound.certificate = byName{given: g.bound.given, own: own}
	}
	return nil
}

func (g *Gateway) newBroker(logins *credential.Logins) (*broker.Broker, error) {
	var watch spec.Watch[spec.Identity]
	if g.control != nil {
		watch = g.control.Identities()
	} else {
		watch = g.link.Policy()
	}
	return broker.New(broker.Options{
		Dir:    g.dir.file("broker"),
		Watch:  watch,
		Log:    g.log.With("part", "broker"),
		Login:  logins.Verify,
		Limits: g.opts.Limits,
	})
}

func (g *Gateway) newControl(ctx context.Context, verifier *credential.Verifier, logins *credential.Logins, certificate *clientCertificate, ring *control.LogRing, secret string) (*control.Control, error) {
	messagesCredential := "" // nobody logs in as the API's own identity, but over the network
	if !g.opts.Parts.Broker {
		messagesCredential = credential.HashGenerated(secret)
	}
	var figures func() spec.BrokerFigures
	var clients func() []spec.ClientView
	if g.opts.Parts.Broker {
		figures, clients = g.brokerFigures, g.brokerClients
	}
	return control.New(ctx, control.Options{
		Dir:             g.dir.path,
		Key:             g.dir.key,
		Log:             g.log.With("part", "control"),
		Verifier:        verifier,
		Logins:          logins,
		Version:         g.opts.Version,
		MqttAddress:     g.mqttAddress(),
		Supports:        supports(),
		CheckExpression: compiles,
		ReadOnly:        g.opts.ReadOnly,
		Messages:        messages{gateway: g},
		Broker:          figures,
		Clients:         clients,
		Logs:            ring,
		Certificate:     certificate.view,
		Authority:       g.authority,

		JoinTokens:         g.opts.Remote.JoinTokens,
		MessagesCredential: messagesCredential,
	})
}

func (g *Gateway) newMapper(certificate *clientCertificate) (*mapper.Mapper, error) {
	agent := g.opts.Remote.Agent
	opts := mapper.Options{
		Agent:             agent,
		Dir:               filepath.Join(g.dir.file("mapper"), agent),
		Key:               g.dir.key,
		Drivers:           drivers(),
		ClientCertificate: func() (tls.Certificate, error) { return certificate.load() },
		ReadOnly:          g.opts.ReadOnly,
		Log:               g.log.With("part", "mapper", "agent", agent),
	}
	var report func(context.Context, spec.AgentStatus) error
	if g.control != nil {
		opts.Watch, report = g.control.Resources(agent), g.control.Report
	} else {
		opts.Watch, report = g.link.Resources(), g.link.Report
	}
	opts.Report = func(ctx context.Context, s spec.AgentStatus) error { return report(ctx, g.withFigures(s)) }
	if g.broker != nil {
		opts.Bus = localBus{g.broker}
	} else {
		opts.Bus = g.bus
	}
	return mapper.New(opts)
}

// routes: health and the page's log-in for everyone, the rest for who is granted it. A part
// without control has health alone.
func (g *Gateway) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.HandleFunc("GET /readyz", g.readyz)
	if g.control == nil {
		return mux
	}
	mux.Handle("GET /metrics", g.control.Guard(promhttp.HandlerFor(newRegistry(g.control.Figures), promhttp.HandlerOpts{})))
	mux.Handle("/{$}", g.page.Handler())
	mux.Handle("/admin/", g.page.Handler())
	if g.relay != nil {
		mux.Handle(relayPath, g.relay)
	} else {
		mux.Handle(relayPath, g.bound.web)
	}
	mux.Handle("/", g.control.Handler())
	return mux
}

// URL is where the API answers; over TLS where there is no plain listener, "" where there is none.
func (g *Gateway) URL() string {
	switch {
	case g.bound.http != nil:
		return "http://" + g.bound.http.Addr().String()
	case g.bound.https != nil:
		return "https://" + g.bound.https.Addr().String()
	}
	return ""
}

// MQTTAddress is where the broker listens in plain, host:port; "" where it does not.
func (g *Gateway) MQTTAddress() string {
	if g.bound.mqtt == nil {
		return ""
	}
	return g.bound.mqtt.Addr().String()
}

// AuthorityPEM is the certificate of the instance's own authority, for clients to trust.
func (g *Gateway) AuthorityPEM() string { return string(g.authority.PEM()) }

// Listener is one way in beside those of URL and MQTTAddress.
type Listener struct{ Name, URL string }

// Listeners are the ways in that were asked for beside URL and MQTTAddress.
func (g *Gateway) Listeners() []Listener {
	var all []Listener
	for _, x := range []struct {
		name, before string
		l            net.Listener
		after        string
	}{
		{"HTTPS", "https://", g.bound.https, ""},
		{"Redirect", "http://", g.bound.redirect, ""},
		{"MQTTS", "mqtts://", g.bound.mqtts, ""},
		{"WS", "ws://", g.bound.ws, "/mqtt"},
		{"WSS", "wss://", g.bound.wss, "/mqtt"},
	} {
		if x.l != nil {
			all = append(all, Listener{x.name, x.before + x.l.Addr().String() + x.after})
		}
	}
	return all
}

// Control gives access to what whoever starts an instance may do: make the first admin, issue a token.
func (g *Gateway) Control() *control.Control { return g.control }

// Run starts the parts and works until ctx ends or a part fails, then stops them: first the
// mapper, so that its last values still reach the broker, then the API and the broker, then
// the store. It returns the failed part's error; nil after ctx has ended.
func (g *Gateway) Run(ctx context.Context) error {
	var parts runner
	if g.control != nil {
		parts.start("control", g.control.Run)
	}
	if g.deployer != nil {
		parts.start("deployer", g.deployer.Run)
	}
	if g.broker != nil {
		parts.start("broker", func(ctx context.Context) error {
			return g.broker.Run(ctx, g.bound.forBroker(g.opts.Limits, g.log.With("part", "broker"))...)
		})
	}
	if g.link != nil {
		parts.start("link", g.link.Run)
	}
	if g.link != nil && g.broker != nil {
		parts.start("figures", g.reportBroker)
	}
	if g.bus != nil {
		parts.start("bus", g.bus.Run)
	}
	if g.page != nil {
		parts.start("page", g.page.Run)
	}
	if g.relay != nil {
		parts.start("relay", g.relay.Run)
	}
	if len(g.bound.forAPI()) > 0 {
		parts.start("api", g.serveHTTP)
	}
	if g.bound.redirect != nil {
		parts.start("redirect", g.serveRedirect)
	}
	if g.mapper != nil {
		parts.start("mapper", g.mapper.Run)
	}
	g.log.Info("running", "url", g.URL(), "mqtt", g.MQTTAddress(), "parts", g.opts.Parts.String(), "version", g.opts.Version)
	err := parts.wait(ctx)
	g.log.Info("stopped")
	g.control, g.bus, g.bound = nil, nil, listeners{} // closed by their parts
	return err
}

// serveHTTP answers requests until ctx ends; streams end then, other requests get a moment.
func (g *Gateway) serveHTTP(ctx context.Context) error {
	streams, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	g.server.BaseContext = func(net.Listener) context.Context { return streams }
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		endStreams()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err := g.server.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) { // a request that does not end is cut
			err = nil
		}
		stopped <- errors.Join(err, g.server.Close())
	})()
	var serving errgroup.Group
	for _, l := range g.bound.forAPI() {
		serving.Go(func() error {
			if err := g.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return errors.Join(fmt.Errorf("cannot serve the API on %s: %w", l.Addr(), err), g.server.Close())
			}
			return nil
		})
	}
	if err := serving.Wait(); err != nil {
		return err
	}
	return <-stopped
}

// Close releases what New took, where Run did not.
func (g *Gateway) Close() error {
	errs := []error{g.bound.close()}
	if g.control != nil {
		errs = append(errs, g.control.Close())
	}
	if g.bus != nil {
		errs = append(errs, g.bus.Close())
	}
	if g.dir != nil {
		errs = append(errs, g.dir.Close())
		g.dir = nil
	}
	return errors.Join(errs...)
}
