// Package link is how a part of the instance that runs in a process of its own reaches the
// control part: it joins with a token, renews its certificate, follows its watch and reports
// its status, over HTTPS within the instance's own authority. It only ever dials out. In one
// process the same interfaces are calls, and this package is not used.
package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// Options of a Link. All but TokenFile, Hosts and Version are required.
type Options struct {
	URL       string   // of the control part: https://HOST[:PORT]
	Part      string   // this part's name: an agent's, or "broker"
	File      string   // keeps the key, the certificate and the authority, mode 0600
	TokenFile string   // holds the join token; "": the part has joined before
	Hosts     []string // what a server's certificate is to be valid for
	Version   string
	Log       *slog.Logger
}

// Link is a part's membership of its instance. Run keeps it up; its other methods may be
// called from several goroutines.
type Link struct {
	opts   Options
	base   *url.URL
	log    *slog.Logger
	client *http.Client

	joined  chan struct{} // closed once there is a certificate
	refused chan struct{} // capacity 1: the control part did not accept the certificate

	mu sync.Mutex
	id *pki.Identity // the chain holds the certificate and the authority once joined; never changed, but replaced
}

// New opens the file, or makes a key and the file. Nothing is sent.
func New(opts Options) (*Link, error) {
	base, err := url.Parse(opts.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, spec.Errorf(spec.Invalid, "cannot use %q as the address of the control part", opts.URL).
			WithHint("it looks like https://control:443")
	}
	if err := spec.CheckPart(opts.Part); err != nil {
		return nil, err
	}
	l := &Link{opts: opts, base: base, log: opts.Log, joined: make(chan struct{}), refused: make(chan struct{}, 1)}
	if l.id, err = openIdentity(opts.File); err != nil {
		return nil, err
	}
	if l.member(l.id) {
		close(l.joined)
	} else if opts.TokenFile == "" {
		return nil, spec.Errorf(spec.Invalid, "cannot join as part %q: there is neither a certificate in %q nor a join token", opts.Part, opts.File).
			WithHint("name the file with the join token by --join-token-file")
	}
	l.client = newClient(l.tlsConfig())
	return l, nil
}

func openIdentity(file string) (*pki.Identity, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		id, err := pki.LoadIdentity(text)
		if err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot use %q: %w", file, err).WithHint("remove it, and join with another token")
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, spec.Errorf(spec.Invalid, "cannot read the part's certificate: %w", err)
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	id := &pki.Identity{Key: key}
	return id, keep(file, id) // before joining: a reply that is lost can be asked for again with the same key
}

func keep(file string, id *pki.Identity) error {
	text, err := id.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(file, text, 0o600); err != nil {
		return spec.Errorf(spec.Invalid, "cannot keep the part's certificate: %w", err)
	}
	return nil
}

// member reports whether the identity has a certificate and an authority.
func (l *Link) member(id *pki.Identity) bool {
	return len(id.Chain) == 2 && id.Chain[0].Subject.CommonName == l.opts.Part
}

func (l *Link) identity() *pki.Identity {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// Joined is closed once the part has a certificate.
func (l *Link) Joined() <-chan struct{} { return l.joined }

// Secret is what the part logs in with at the broker.
func (l *Link) Secret() (string, error) { return l.identity().Secret() }

// ServerCertificate is tls.Config.GetCertificate of a part that serves.
func (l *Link) ServerCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	id := l.identity()
	if !l.member(id) {
		return nil, errNotJoined()
	}
	return id.TLS(), nil
}

// ClientTLS is what the part dials another one of the instance with, by its role's name.
func (l *Link) ClientTLS(name string) (*tls.Config, error) {
	id := l.identity()
	if !l.member(id) {
		return nil, errNotJoined()
	}
	return &tls.Config{
		RootCAs: pki.Pool(id.Chain[1]), ServerName: name, MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{*id.TLS()},
	}, nil
}

func errNotJoined() error {
	return spec.Errorf(spec.Unavailable, "this part has not joined its instance yet")
}

// tlsConfig verifies the control part, by its role's name, with the authority that there is at
// the time of the handshake: it may be another one after the part has joined anew.
func (l *Link) tlsConfig() *tls.Config {
	return &tls.Config{
		ServerName: pki.ControlName, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			id := l.identity()
			if !l.member(id) {
				return errNotJoined()
			}
			return verify(s, id.Chain[1])
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			id := l.identity()
			if !l.member(id) {
				return new(tls.Certificate), nil
			}
			return id.TLS(), nil
		},
	}
}

// verify checks that the peer is the control part of the authority's instance.
func verify(s tls.ConnectionState, authority *x509.Certificate) error {
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: pki.Pool(authority), DNSName: pki.ControlName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// The pauses between attempts to join or renew; they double.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	// dueCheck is how often the certificate's age is looked at.
	dueCheck = time.Hour
)

// Run joins, and renews the certificate when a third of its life is left, until ctx ends. It
// returns nil then. A control part that is away is asked again and again.
func (l *Link) Run(ctx context.Context) error {
	pause, refused := firstPause, false
	for ctx.Err() == nil {
		err := l.maintain(ctx, refused)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("the part has no new certificate; it is tried again", "part", l.opts.Part, "error", err, "retry_in", pause.String())
			sleep(ctx, pause)
			pause = min(2*pause, lastPause)
			continue // refused, if it was, until that is mended
		}
		pause = firstPause
		refused = l.rest(ctx, dueCheck)
	}
	l.client.CloseIdleConnections()
	return nil
}

// rest waits, and reports whether a refusal of the certificate ended that.
func (l *Link) rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-l.refused:
		return true
	}
	return false
}

// maintain does what there is to do about the certificate now; refused says that the control
// part does not accept it.
func (l *Link) maintain(ctx context.Context, refused bool) error {
	id := l.identity()
	if !l.member(id) {
		return l.join(ctx)
	}
	if !refused && time.Now().Before(pki.RenewAt(id.Chain[0])) {
		return nil
	}
	err := l.renew(ctx)
	if err != nil && l.opts.TokenFile != "" && mustJoinAnew(err) {
		if joinErr := l.join(ctx); joinErr != nil {
			return errors.Join(err, joinErr)
		}
		return nil
	}
	return err
}

// mustJoinAnew reports whether a certificate is of no use any more: taken back, expired, or of
// another authority.
func mustJoinAnew(err error) bool {
	var unknown x509.UnknownAuthorityError
	var peer *net.OpError
	refused := errors.As(err, &peer) && peer.Op == "remote error" // the peer's alert, in the words of package tls
	return spec.KindOf(err) == spec.Unauthorised || errors.As(err, &unknown) || refused
}

// noteRefusal has Run look after the certificate, if that is what a request failed for.
func (l *Link) noteRefusal(err error) {
	if err == nil || !mustJoinAnew(err) {
		return
	}
	select {
	case l.refused <- struct{}{}:
	default:
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
