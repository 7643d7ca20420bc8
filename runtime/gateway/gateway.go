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
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
	"github.com/millwright/millwright/runtime/control"
	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/modbus"
	"github.com/millwright/millwright/runtime/mapper/mqtt"
	"github.com/millwright/millwright/runtime/mapper/opcua"
	"github.com/millwright/millwright/runtime/web"
)

// Options of a gateway.
type Options struct {
	DataDir        string
	ListenHTTP     string // address of the API
	ListenMQTT     string // address of the broker
	ListenHTTPS    string // those over TLS, and of MQTT over WebSocket; "" for none
	ListenMQTTS    string
	ListenWS       string
	ListenWSS      string
	TLSCertificate string   // PEM files of the listeners that speak TLS; read again when they change
	TLSKey         string   // both empty: the instance's own authority makes a certificate, and renews it
	Hosts          []string // what that certificate is valid for beside this host's own name and loopback
	ReadOnly       bool     // refuse every write to machines
	InsecureListen bool     // allow plain listeners on addresses that are not loopback
	Limits         broker.Limits
	Version        string
	Log            *slog.Logger
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
	if g.control, err = g.newControl(ctx, verifier, logins, certificate, ring); err != nil {
		return err
	}
	g.broker, err = broker.New(broker.Options{
		Dir:    g.dir.file("broker"),
		Watch:  g.control.Identities(),
		Log:    g.log.With("part", "broker"),
		Login:  logins.Verify,
		Limits: g.opts.Limits,
	})
	if err != nil {
		return err
	}
	if g.mapper, err = g.newMapper(certificate); err != nil {
		return err
	}
	if g.page, err = g.newPage(); err != nil {
		return err
	}
	g.server = &http.Server{Handler: g.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	return nil
}

// secure opens the instance's certificate authority and gives the listeners their certificate.
func (g *Gateway) secure() (err error) {
	if g.authority, err = loadAuthority(g.dir); err != nil {
		return err
	}
	hosts := serverHosts(append([]string{pki.ControlName, pki.BrokerName}, g.opts.Hosts...), g.bound.https, g.bound.mqtts, g.bound.wss)
	own, err := loadOwnCertificate(g.dir, g.authority, hosts, g.log)
	if err != nil {
		return err
	}
	g.bound.certificate, g.bound.parts = own, g.authority.Pool()
	if g.bound.given != nil {
		g.bound.certificate = byName{given: g.bound.given, own: own}
	}
	return nil
}

func (g *Gateway) newControl(ctx context.Context, verifier *credential.Verifier, logins *credential.Logins, certificate *clientCertificate, ring *control.LogRing) (*control.Control, error) {
	supported := map[string]bool{}
	for _, d := range drivers() {
		supported[d.Spec.Name] = true
	}
	address := g.bound.mqtt.Addr().(*net.TCPAddr)
	return control.New(ctx, control.Options{
		Dir:      g.dir.path,
		Key:      g.dir.key,
		Log:      g.log.With("part", "control"),
		Verifier: verifier,
		Logins:   logins,
		Version:  g.opts.Version,
		MqttAddress: func() (string, int) {
			if address.IP.IsUnspecified() {
				return "127.0.0.1", address.Port
			}
			return address.IP.String(), address.Port
		},
		Supports:        func(protocol string) bool { return supported[protocol] },
		CheckExpression: func(source string) error { _, err := expr.Compile(source); return err },
		Forget:          g.forget,
		ReadOnly:        g.opts.ReadOnly,
		Messages:        messages{gateway: g},
		Logs:            ring,
		Certificate:     certificate.view,
		Authority:       g.authority,
	})
}

// forget removes what the broker keeps of a deleted service.
func (g *Gateway) forget(service string) {
	if err := g.broker.ForgetRetained("services/" + service + "/#"); err != nil {
		g.log.Warn("cannot remove the retained messages of a deleted service", "service", service, "error", err)
	}
}

func (g *Gateway) newMapper(certificate *clientCertificate) (*mapper.Mapper, error) {
	return mapper.New(mapper.Options{
		Agent:             spec.DefaultAgent,
		Dir:               filepath.Join(g.dir.file("mapper"), spec.DefaultAgent),
		Key:               g.dir.key,
		Drivers:           drivers(),
		Bus:               localBus{g.broker},
		Watch:             g.control.Resources(spec.DefaultAgent),
		Report:            g.control.Report,
		ClientCertificate: func() (tls.Certificate, error) { return certificate.load() },
		ReadOnly:          g.opts.ReadOnly,
		Log:               g.log.With("part", "mapper", "agent", spec.DefaultAgent),
	})
}

// routes: health and the page's log-in for everyone, the rest for who is granted it.
func (g *Gateway) routes() http.Handler {
	registry := newRegistry(collector{brokerStats: g.broker.Stats, resources: g.mapper.Status, abandoned: g.mapper.Abandoned})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.Handle("GET /metrics", g.control.Guard(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	mux.Handle("/{$}", g.page.Handler())
	mux.Handle("/admin/", g.page.Handler())
	mux.Handle("/", g.control.Handler())
	return mux
}

// URL is where the API answers.
func (g *Gateway) URL() string { return "http://" + g.bound.http.Addr().String() }

// MQTTAddress is where the broker listens, host:port.
func (g *Gateway) MQTTAddress() string { return g.bound.mqtt.Addr().String() }

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
	parts.start("control", g.control.Run)
	parts.start("broker", func(ctx context.Context) error {
		return g.broker.Run(ctx, g.bound.forBroker(g.opts.Limits, g.log.With("part", "broker"))...)
	})
	parts.start("page", g.page.Run)
	parts.start("api", g.serveHTTP)
	parts.start("mapper", g.mapper.Run)
	g.log.Info("running", "url", g.URL(), "mqtt", g.MQTTAddress(), "version", g.opts.Version)
	err := parts.wait(ctx)
	g.log.Info("stopped")
	g.control, g.bound = nil, listeners{} // closed by their parts
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
	if g.dir != nil {
		errs = append(errs, g.dir.Close())
		g.dir = nil
	}
	return errors.Join(errs...)
}
