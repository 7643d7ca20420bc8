package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// The files of the instance's own authority and server certificate, each with its key in the
// same file, so that a crash cannot part them.
const (
	authorityFile = "pki/ca.pem"
	serverFile    = "pki/server.pem"
)

// loadAuthority returns the data directory's certificate authority, made on first use and kept.
func loadAuthority(dir *dataDir) (*pki.Authority, error) {
	text, err := dir.readOrMake(authorityFile, func() ([]byte, error) {
		a, err := pki.NewAuthority(time.Now())
		if err != nil {
			return nil, err
		}
		return a.Encode()
	})
	if err != nil {
		return nil, err
	}
	a, err := pki.LoadAuthority(text)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use %q: %w", dir.file(authorityFile), err).
			WithHint("restore it from a backup; or remove it: a new one is made, which every client and part must trust anew")
	}
	return a, nil
}

// source gives TLS listeners their certificate.
type source interface {
	get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// ownCertificate is the server certificate that the instance's authority signs: made at the first
// start, made anew when the names change, and renewed by a handshake when a third of its life is left.
type ownCertificate struct {
	authority *pki.Authority
	file      string
	hosts     []string
	log       *slog.Logger
	now       func() time.Time

	mu    sync.Mutex
	id    *pki.Identity
	retry time.Time // no renewal is tried before
}

// renewRetry is how long after a failed renewal the next one is tried.
const renewRetry = time.Minute

func loadOwnCertificate(dir *dataDir, authority *pki.Authority, hosts []string, log *slog.Logger) (*ownCertificate, error) {
	c := &ownCertificate{authority: authority, file: dir.file(serverFile), hosts: hosts, log: log, now: time.Now}
	text, err := os.ReadFile(c.file)
	if err == nil {
		c.id, err = pki.LoadIdentity(text)
	}
	if err == nil && c.fits() {
		return c, nil
	}
	if err != nil && !os.IsNotExist(err) {
		log.Warn("the instance's own TLS certificate cannot be used; another one is made", "file", c.file, "error", err)
	}
	return c, c.renew()
}

// fits reports whether the certificate needs no replacement yet.
func (c *ownCertificate) fits() bool {
	if len(c.id.Chain) == 0 {
		return false
	}
	leaf, now := c.id.Chain[0], c.now()
	return now.Before(pki.RenewAt(leaf)) && pki.Serves(leaf, c.hosts) &&
		leaf.CheckSignatureFrom(c.authority.Certificate()) == nil
}

// renew makes a certificate with a new key.
func (c *ownCertificate) renew() error {
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	leaf, err := c.authority.Issue(&key.PublicKey, pki.Subject{Name: c.hosts[0], Hosts: c.hosts}, c.now())
	if err != nil {
		return err
	}
	id := &pki.Identity{Key: key, Chain: []*x509.Certificate{leaf}}
	text, err := id.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.file, text, 0o600); err != nil {
		return spec.Errorf(spec.Invalid, "cannot keep the TLS certificate: %w", err)
	}
	c.id = id
	c.log.Info("TLS certificate made", "file", c.file, "hosts", c.hosts, "not_after", leaf.NotAfter)
	return nil
}

// get is tls.Config.GetCertificate. A renewal that fails leaves the certificate before in force.
func (c *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.After(pki.RenewAt(c.id.Chain[0])) && !now.Before(c.retry) {
		if err := c.renew(); err != nil {
			c.retry = now.Add(renewRetry)
			c.log.Error("the TLS certificate was not renewed", "error", err, "not_after", c.id.Chain[0].NotAfter)
		}
	}
	return c.id.TLS(), nil
}

// serverHosts are the names and addresses that the instance's own certificate is valid for.
func serverHosts(given []string, bound ...net.Listener) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	hosts = append(hosts, given...)
	for _, l := range bound {
		if l == nil {
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			hosts = append(hosts, tcp.IP.String())
		}
	}
	slices.Sort(hosts[3:])
	named := map[string]bool{}
	return slices.DeleteFunc(hosts, func(host string) bool {
		again := named[host]
		named[host] = true
		return again
	})
}

// byName asks the instance's own certificate where one of its parts calls, and the one that
// was given for everybody else.
type byName struct{ given, own source }

func (s byName) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.given == nil || hello.ServerName == pki.ControlName || hello.ServerName == pki.BrokerName {
		return s.own.get(hello)
	}
	return s.given.get(hello)
}
