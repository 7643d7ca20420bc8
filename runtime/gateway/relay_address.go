package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

// relayProtocol is what control asks for in the TLS handshake (ALPN) with the broker before it
// relays a client: the connection then begins with a line that says where the client comes from, so
// that the broker's log names it and wrong passwords count against it, and not against all clients
// of the relay together. Only control, which proves who it is by a certificate, is believed.
const relayProtocol = "millwright-relay"

// maxRelayLine is longer than "[IPv6%zone]:port" and the line's end.
const maxRelayLine = 128

// joinWebSocket has the API's listeners carry MQTT over WebSocket too: to the broker of this
// process, or to the one of another.
func (g *Gateway) joinWebSocket() error {
	log := g.log.With("part", "relay")
	if g.broker != nil {
		g.bound.web = broker.NewWebSocket(g.bound.forAPI()[0].Addr(), g.opts.Limits, log)
		return nil
	}
	dialer, err := newRelayDialer(g.opts.Remote.Broker, g.authority)
	if err == nil {
		g.relay = newRelay(g.opts.Limits, log, dialer.dial)
	}
	return err
}

// partsPool is the authority that vouches for control, once this part has joined.
func (g *Gateway) partsPool() (*x509.CertPool, error) {
	config, err := g.link.ClientTLS(pki.ControlName)
	if err != nil {
		return nil, err
	}
	return config.RootCAs, nil
}

// relayDialer connects control to the broker on behalf of clients.
type relayDialer struct {
	address   string
	authority *pki.Authority
	key       *ecdsa.PrivateKey
	now       func() time.Time

	mu          sync.Mutex
	certificate *tls.Certificate
}

func newRelayDialer(address string, authority *pki.Authority) (*relayDialer, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	return &relayDialer{address: address, authority: authority, key: key, now: time.Now}, nil
}

// dial returns a connection on which the client's bytes follow. A broker of a release that does
// not know relays takes it for one of control's own.
func (d *relayDialer) dial(ctx context.Context, client netip.AddrPort) (net.Conn, error) {
	dialer := tls.Dialer{Config: &tls.Config{
		RootCAs: d.authority.Pool(), ServerName: pki.BrokerName, MinVersion: tls.VersionTLS12,
		NextProtos: []string{relayProtocol}, GetClientCertificate: d.proof,
	}}
	conn, err := dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	secure := conn.(*tls.Conn) //nolint:forcetypeassert // package tls says so
	if secure.ConnectionState().NegotiatedProtocol != relayProtocol {
		return secure, nil
	}
	if _, err := secure.Write([]byte(client.String() + "\n")); err != nil {
		return nil, errors.Join(err, secure.Close())
	}
	return secure, nil
}

// proof is the certificate that says that this is control; it lives in memory alone.
func (d *relayDialer) proof(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if d.certificate != nil && now.Before(pki.RenewAt(d.certificate.Leaf)) {
		return d.certificate, nil
	}
	leaf, err := d.authority.Issue(&d.key.PublicKey, pki.Subject{Name: spec.ControlPart, Client: true}, now)
	if err != nil {
		return nil, err
	}
	d.certificate = (&pki.Identity{Key: d.key, Chain: []*x509.Certificate{leaf}}).TLS()
	return d.certificate, nil
}

// forRelay has the configuration of the broker's listener serve connections that control relays.
// Parts returns whose certificates are believed.
func forRelay(config *tls.Config, parts func() (*x509.CertPool, error)) *tls.Config {
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName != pki.BrokerName || !slices.Contains(hello.SupportedProtos, relayProtocol) {
			return nil, nil
		}
		pool, err := parts()
		if err != nil {
			return nil, err
		}
		relay := config.Clone()
		relay.GetConfigForClient = nil
		relay.NextProtos, relay.ClientAuth, relay.ClientCAs = []string{relayProtocol}, tls.RequireAndVerifyClientCert, pool
		relay.VerifyConnection = func(s tls.ConnectionState) error {
			if name := s.PeerCertificates[0].Subject.CommonName; name != spec.ControlPart {
				return spec.Errorf(spec.Forbidden, "cannot relay for part %q: only control does", name)
			}
			return nil
		}
		return relay, nil
	}
	return config
}

// relayedListener learns from control where the clients come from that it relays.
type relayedListener struct{ net.Listener }

func (l relayedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &relayedConn{Conn: conn.(*tls.Conn)}, nil //nolint:forcetypeassert // of a TLS listener
}

// relayedConn is a connection over TLS. The first Read makes the handshake, and learns from which
// address a relayed client comes; RemoteAddr is that from then on.
type relayedConn struct {
	*tls.Conn
	begin  sync.Once
	failed error
	from   atomic.Pointer[net.TCPAddr]
}

func (c *relayedConn) Read(p []byte) (int, error) {
	c.begin.Do(func() { c.failed = c.learn() })
	if c.failed != nil {
		return 0, c.failed
	}
	return c.Conn.Read(p)
}

// RemoteAddr is where the client is.
func (c *relayedConn) RemoteAddr() net.Addr {
	if from := c.from.Load(); from != nil {
		return from
	}
	return c.Conn.RemoteAddr()
}

// learn reads the line that begins a relayed connection, and not a byte more.
func (c *relayedConn) learn() error {
	if err := c.Handshake(); err != nil {
		return err
	}
	if c.ConnectionState().NegotiatedProtocol != relayProtocol {
		return nil
	}
	line := make([]byte, 0, maxRelayLine)
	for len(line) < maxRelayLine {
		var b [1]byte
		n, err := c.Conn.Read(b[:])
		switch {
		case n == 0 && err != nil:
			return err
		case n == 0:
		case b[0] != '\n':
			line = append(line, b[0])
		default:
			address, err := netip.ParseAddrPort(string(line))
			if err != nil {
				return spec.Errorf(spec.Invalid, "cannot take %q for the address of a relayed client", line)
			}
			c.from.Store(net.TCPAddrFromAddrPort(address))
			return nil
		}
	}
	return spec.Errorf(spec.Invalid, "cannot take %d bytes for the address of a relayed client", maxRelayLine)
}
