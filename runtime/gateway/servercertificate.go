package gateway

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// certificateCheck is how often, at most, a handshake looks whether the files have changed.
	certificateCheck = time.Second
	// certificateWarning is how long before its end a certificate is warned of.
	certificateWarning = 14 * 24 * time.Hour
)

// serverCertificate is the certificate of the TLS listeners, from two PEM files: one with the
// certificate and those between it and its CA, one with its key. When a handshake finds them
// changed they are read again, so that a renewal needs no restart; files that cannot
// be used, such as half of a renewal, leave the certificate before in force.
type serverCertificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	stamps  [2]os.FileInfo // of the files, when they were last read
	checked time.Time
	warned  string // what of the certificate's dates was last warned of
}

// loadServerCertificate reads the files; an error names the file that is at fault.
func loadServerCertificate(certFile, keyFile string, log *slog.Logger) (*serverCertificate, error) {
	c := &serverCertificate{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	stamps, err := c.stat()
	if err != nil {
		return nil, err
	}
	pair, err := c.read()
	if err != nil {
		return nil, err
	}
	c.pair, c.stamps, c.checked = pair, stamps, c.now()
	c.warnOfDates()
	return c, nil
}

// get is tls.Config.GetCertificate.
func (c *serverCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		c.refresh()
		c.warnOfDates()
	}
	return c.pair, nil
}

// refresh reads the files again if they have changed. What cannot be used is said once for each change.
func (c *serverCertificate) refresh() {
	stamps, err := c.stat()
	if err == nil && same(stamps, c.stamps) {
		return
	}
	if err != nil && c.stamps == ([2]os.FileInfo{}) {
		return // said already
	}
	c.stamps = stamps
	if err == nil {
		var pair *tls.Certificate
		if pair, err = c.read(); err == nil {
			c.pair, c.warned = pair, ""
			c.log.Info("TLS certificate read again", "file", c.certFile, "not_after", pair.Leaf.NotAfter)
			return
		}
	}
	c.log.Error("the TLS certificate before stays in use", "error", err)
}

// same reports whether no file was replaced or written between the two looks.
func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if b[i] == nil || !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}

func (c *serverCertificate) stat() (stamps [2]os.FileInfo, err error) {
	cert, err := os.Stat(c.certFile)
	if err != nil {
		return stamps, fileError("--tls-certificate", c.certFile, err)
	}
	key, err := os.Stat(c.keyFile)
	if err != nil {
		return stamps, fileError("--tls-key", c.keyFile, err)
	}
	return [2]os.FileInfo{cert, key}, nil
}

// read returns the pair in the files.
func (c *serverCertificate) read() (*tls.Certificate, error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return nil, fileError("--tls-certificate", c.certFile, err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return nil, fileError("--tls-key", c.keyFile, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use --tls-certificate %q with --tls-key %q: %w", c.certFile, c.keyFile, err).
			WithHint("both are PEM: the server's certificate, then those between it and its CA; and the key of the first one, without a password")
	}
	return &pair, nil
}

func fileError(flag, name string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return spec.Errorf(spec.Invalid, "cannot read %s %q: %w", flag, name, err)
}

// warnOfDates says once that clients refuse the certificate, or soon will.
func (c *serverCertificate) warnOfDates() {
	leaf, now := c.pair.Leaf, c.now()
	var warning string
	switch {
	case now.After(leaf.NotAfter):
		warning = "the TLS certificate has expired: clients refuse it"
	case now.Before(leaf.NotBefore):
		warning = "the TLS certificate is not valid yet: clients refuse it"
	case leaf.NotAfter.Sub(now) < certificateWarning:
		warning = "the TLS certificate expires soon"
	}
	if warning != "" && warning != c.warned {
		c.log.Warn(warning, "file", c.certFile, "not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
	c.warned = warning
}
