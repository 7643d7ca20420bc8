package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"syscall"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

// listeners are the bound addresses; what is nil was not asked for.
type listeners struct {
	http, https, redirect, mqtt, mqtts, ws, wss net.Listener

	given       *serverCertificate // of those that speak TLS; nil: the instance's own
	certificate source             // both; set once the data directory is open
	parts       *x509.CertPool     // whose clients may prove who they are; nil: nobody's

	web     *broker.WebSocket              // MQTT beside the API; nil: the broker is in another process, or control is
	relayed func() (*x509.CertPool, error) // who vouches for a control in another process; nil: it is in this one
}

// tls is the configuration of a listener that speaks the application protocols.
func (l *listeners) tls(protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: l.certificate.get, NextProtos: protocols}
}

// api is that of the API's listener. Only who calls the control part by its role's name is asked
// for a certificate: a browser would ask its user to choose one.
func (l *listeners) api() *tls.Config {
	config := l.tls("h2", "http/1.1")
	if l.parts == nil {
		return config
	}
	forParts := config.Clone()
	forParts.ClientAuth, forParts.ClientCAs = tls.VerifyClientCertIfGiven, l.parts
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == pki.ControlName {
			return forParts, nil
		}
		return nil, nil
	}
	return config
}

// address is one that is to be bound.
type address struct {
	flag, addr string
	tls        bool
	secured    string // the flag of the listener that speaks TLS in its place; "" for one that need not
	to         *net.Listener
}

func (l *listeners) addresses(opts *Options) []address {
	return []address{
		{"--listen-http", opts.ListenHTTP, false, "--listen-https", &l.http},
		{"--listen-http-redirect", opts.ListenHTTPRedirect, false, "", &l.redirect},
		{"--listen-mqtt", opts.ListenMQTT, false, "--listen-mqtts", &l.mqtt},
		{"--listen-ws", opts.ListenWS, false, "--listen-wss", &l.ws},
		{"--listen-https", opts.ListenHTTPS, true, "", &l.https},
		{"--listen-mqtts", opts.ListenMQTTS, true, "", &l.mqtts},
		{"--listen-wss", opts.ListenWSS, true, "", &l.wss},
	}
}

// bind reads the certificate and binds the addresses. After an error the caller closes what was bound.
func (l *listeners) bind(opts *Options) (err error) {
	var secure *address
	all := l.addresses(opts)
	for i, a := range all {
		if a.tls && a.addr != "" && secure == nil {
			secure = &all[i]
		}
	}
	if l.given, err = certificateFor(secure, opts); err != nil {
		return err
	}
	for _, a := range all {
		if a.addr == "" {
			continue
		}
		bound, err := listen(a, opts.InsecureListen)
		if err != nil {
			return err
		}
		*a.to = bound
	}
	return nil
}

// certificateFor returns the certificate that is given for the listeners that speak TLS, the
// first of which is secure; nil where none is given.
func certificateFor(secure *address, opts *Options) (*serverCertificate, error) {
	cert, key := opts.TLSCertificate, opts.TLSKey
	switch {
	case cert == "" && key == "":
		return nil, nil
	case key == "":
		return nil, spec.Errorf(spec.Invalid, "cannot use --tls-certificate %q: its key is missing", cert).WithHint("name the key's file with --tls-key")
	case cert == "":
		return nil, spec.Errorf(spec.Invalid, "cannot use --tls-key %q: its certificate is missing", key).WithHint("name the certificate's file with --tls-certificate")
	case secure == nil:
		return nil, spec.Errorf(spec.Invalid, "cannot use --tls-certificate %q: no listener speaks TLS", cert).
			WithHint("add --listen-https, --listen-mqtts or --listen-wss, or leave the certificate out")
	}
	return loadServerCertificate(cert, key, opts.Log)
}

// forBroker returns the listeners that carry MQTT.
func (l *listeners) forBroker(limits broker.Limits, log *slog.Logger) []net.Listener {
	var all []net.Listener
	if l.mqtt != nil {
		all = append(all, l.mqtt)
	}
	switch {
	case l.mqtts != nil && l.relayed != nil:
		all = append(all, relayedListener{tls.NewListener(l.mqtts, forRelay(l.tls(), l.relayed))})
	case l.mqtts != nil:
		all = append(all, tls.NewListener(l.mqtts, l.tls()))
	}
	if l.ws != nil {
		all = append(all, broker.ListenWebSocket(l.ws, limits, log))
	}
	if l.wss != nil {
		all = append(all, broker.ListenWebSocket(tls.NewListener(l.wss, l.tls("http/1.1")), limits, log))
	}
	if l.web != nil {
		all = append(all, l.web)
	}
	return all
}

// forAPI returns the listeners of the API.
func (l *listeners) forAPI() []net.Listener {
	var all []net.Listener
	if l.http != nil {
		all = append(all, l.http)
	}
	if l.https != nil {
		all = append(all, tls.NewListener(l.https, l.api()))
	}
	return all
}

// close releases what bind took.
func (l *listeners) close() error {
	var errs []error
	for _, bound := range []net.Listener{l.http, l.https, l.redirect, l.mqtt, l.mqtts, l.ws, l.wss} {
		if bound != nil {
			errs = append(errs, bound.Close())
		}
	}
	*l = listeners{}
	return errors.Join(errs...)
}

// listen binds a TCP address. A plain one on anything but loopback is refused unless insecure
// is set: log-ins and values would cross the network in clear.
func listen(a address, insecure bool) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", a.addr)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: %w", a.flag, a.addr, err).
			WithHint("give host:port, such as 127.0.0.1:8080")
	}
	if a.secured != "" && !insecure && (tcp.IP == nil || !tcp.IP.IsLoopback()) {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: it is not a loopback address and the listener is not encrypted", a.flag, a.addr).
			WithHint("use 127.0.0.1, or %s, or accept passwords in clear on that network with --insecure-listen", a.secured)
	}
	l, err := net.ListenTCP("tcp", tcp)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, spec.Errorf(spec.Conflict, "cannot listen on %s %q: another program has that port", a.flag, a.addr).
			WithHint("stop that program, or choose another address with %s", a.flag)
	}
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: %w", a.flag, a.addr, err)
	}
	return l, nil
}
