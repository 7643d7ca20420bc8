package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// brokerListener is the TLS listener of a broker in another process than control.
func brokerListener(t *testing.T, a *pki.Authority) net.Listener {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Issue(&key.PublicKey, pki.Subject{Name: "broker", Hosts: []string{pki.BrokerName, "localhost"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair := (&pki.Identity{Key: key, Chain: []*x509.Certificate{leaf}}).TLS()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*pair}}
	return relayedListener{tls.NewListener(inner, forRelay(config, func() (*x509.CertPool, error) { return a.Pool(), nil }))}
}

// TestRelayedAddress: the broker learns the client's address from control, and from nobody else.
func TestRelayedAddress(t *testing.T) {
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := brokerListener(t, a)
	d, err := newRelayDialer(l.Addr().String(), a)
	if err != nil {
		t.Fatal(err)
	}
	type heard struct{ from, said, err string }
	// exchange dials, says hello, and returns what the broker has heard.
	exchange := func(dial func(context.Context) (net.Conn, error)) heard {
		t.Helper()
		got := make(chan heard, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				got <- heard{err: err.Error()}
				return
			}
			defer conn.Close()
			said := make([]byte, 5)
			_, err = io.ReadFull(conn, said)
			h := heard{from: conn.RemoteAddr().String(), said: string(said)}
			if err != nil {
				h.err = err.Error()
			}
			got <- h
		}()
		conn, err := dial(t.Context())
		if err == nil {
			defer conn.Close()
			_, err = conn.Write([]byte("hello"))
		}
		h := <-got
		if err != nil && h.err == "" {
			t.Error(err)
		}
		return h
	}
	relayed := func(ctx context.Context) (net.Conn, error) {
		return d.dial(ctx, netip.MustParseAddrPort("[2001:db8::7]:4711"))
	}
	if h := exchange(relayed); h != (heard{from: "[2001:db8::7]:4711", said: "hello"}) {
		t.Errorf("by control: %+v", h)
	}
	as := func(change func(*tls.Config)) func(context.Context) (net.Conn, error) {
		config := &tls.Config{RootCAs: a.Pool(), ServerName: pki.BrokerName, MinVersion: tls.VersionTLS12, NextProtos: []string{relayProtocol}}
		change(config)
		return func(ctx context.Context) (net.Conn, error) {
			conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", l.Addr().String())
			if err == nil {
				_, err = conn.Write([]byte("10.0.0.7:1\n"))
			}
			return conn, err
		}
	}
	// A client of the broker is one whatever it says; its first bytes are MQTT's.
	if h := exchange(as(func(c *tls.Config) { c.NextProtos = []string{"mqtt"} })); !strings.HasPrefix(h.from, "127.0.0.1:") || h.said != "10.0." {
		t.Errorf("a client: %+v", h)
	}
	if h := exchange(as(func(c *tls.Config) { c.ServerName = "localhost" })); !strings.HasPrefix(h.from, "127.0.0.1:") || h.said != "10.0." {
		t.Errorf("a client by another name: %+v", h)
	}
	proof := func(a *pki.Authority, name string) func(*tls.Config) {
		other := &relayDialer{authority: a, key: d.key, now: time.Now}
		return func(c *tls.Config) {
			pair, err := other.proof(nil)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := a.Issue(&d.key.PublicKey, pki.Subject{Name: name, Client: true}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			pair.Certificate = [][]byte{leaf.Raw}
			c.Certificates = []tls.Certificate{{Certificate: pair.Certificate, PrivateKey: pair.PrivateKey}}
		}
	}
	stranger, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*tls.Config)
		want   string
	}{
		"nobody":               {func(*tls.Config) {}, "didn't provide a certificate"},
		"a mapper":             {proof(a, "hall-2"), "only control does"},
		"a stranger's control": {proof(stranger, spec.ControlPart), "certificate"},
	} {
		if h := exchange(as(c.change)); h.said == "hello" || !strings.Contains(h.err, c.want) || !strings.HasPrefix(h.from, "127.0.0.1:") {
			t.Errorf("%s: %+v", name, h)
		}
	}
	// What control says must be an address.
	long := func(ctx context.Context) (net.Conn, error) {
		c := &tls.Config{RootCAs: a.Pool(), ServerName: pki.BrokerName, MinVersion: tls.VersionTLS12, NextProtos: []string{relayProtocol}, GetClientCertificate: d.proof}
		conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", l.Addr().String())
		if err == nil {
			_, err = conn.Write([]byte(strings.Repeat("1", 200)))
		}
		return conn, err
	}
	if h := exchange(long); !strings.Contains(h.err, "cannot take 128 bytes") {
		t.Errorf("no address: %+v", h)
	}
}

// TestRelayProofIsRenewed before it ends.
func TestRelayProofIsRenewed(t *testing.T) {
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d, err := newRelayDialer("", a)
	if err != nil {
		t.Fatal(err)
	}
	first, err := d.proof(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.proof(nil); err != nil || again != first {
		t.Errorf("another one for the next connection: %v", err)
	}
	d.now = func() time.Time { return pki.RenewAt(first.Leaf).Add(time.Hour) }
	if again, err := d.proof(nil); err != nil || !again.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("not renewed: %v", err)
	}
}
