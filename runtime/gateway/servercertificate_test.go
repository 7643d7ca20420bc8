package gateway

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testcert"
)

// certified is a server certificate on a clock of the test's own, and its log.
type certified struct {
	*serverCertificate
	t   *testing.T
	dir string
	log bytes.Buffer
}

func newCertified(t *testing.T, pair testcert.Pair) *certified {
	t.Helper()
	c := &certified{t: t, dir: t.TempDir()}
	cert, key := pair.Write(t, c.dir)
	var err error
	if c.serverCertificate, err = loadServerCertificate(cert, key, slog.New(slog.NewTextHandler(&c.log, nil))); err != nil {
		t.Fatal(err)
	}
	return c
}

// serial returns which certificate a handshake gets after the time has passed.
func (c *certified) serial(later time.Duration) string {
	c.t.Helper()
	now := c.now().Add(later)
	c.now = func() time.Time { return now }
	pair, err := c.get(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

// said returns how often the log has the text.
func (c *certified) said(text string) int { return strings.Count(c.log.String(), text) }

func inAYear() time.Time { return time.Now().Add(365 * 24 * time.Hour) }

func TestServerCertificateIsRenewed(t *testing.T) {
	renewed := testcert.New(t, inAYear())
	c := newCertified(t, testcert.New(t, inAYear()))
	first := c.serial(0)
	renewed.Write(t, c.dir)
	if c.serial(certificateCheck/2) != first {
		t.Error("the files were looked at too soon")
	}
	second := c.serial(certificateCheck)
	if second == first || c.said("read again") != 1 {
		t.Errorf("the new certificate is not in use:\n%s", &c.log)
	}
	if c.serial(time.Hour) != second || c.said("read again") != 1 {
		t.Errorf("files that have not changed were read again:\n%s", &c.log)
	}
}

// TestServerCertificateSurvivesBadRenewals: half of a pair, rubbish, no file; then a good one.
func TestServerCertificateSurvivesBadRenewals(t *testing.T) {
	c := newCertified(t, testcert.New(t, inAYear()))
	first := c.serial(0)
	other := testcert.New(t, inAYear())
	for n, spoil := range []func() error{
		func() error { return os.WriteFile(c.certFile, other.Certificate, 0o600) },
		func() error { return os.WriteFile(c.certFile, []byte("rubbish"), 0o600) },
		func() error { return os.Remove(c.certFile) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		for range 3 { // it is said once
			if c.serial(time.Minute) != first {
				t.Errorf("case %d: another certificate", n)
			}
		}
		if got := c.said("stays in use"); got != n+1 {
			t.Errorf("case %d: said %d times:\n%s", n, got, &c.log)
		}
	}
	other.Write(t, c.dir)
	if c.serial(time.Minute) == first {
		t.Errorf("the good one is not in use:\n%s", &c.log)
	}
}

func TestServerCertificateWarnsOfItsDates(t *testing.T) {
	c := newCertified(t, testcert.New(t, time.Now().Add(30*24*time.Hour)))
	for _, x := range []struct {
		later         time.Duration
		soon, expired int
	}{{0, 0, 0}, {20 * 24 * time.Hour, 1, 0}, {time.Hour, 1, 0}, {20 * 24 * time.Hour, 1, 1}, {time.Hour, 1, 1}} {
		c.serial(x.later)
		if soon, expired := c.said("expires soon"), c.said("has expired"); soon != x.soon || expired != x.expired {
			t.Errorf("after %s more: said soon %d times, expired %d times", x.later, soon, expired)
		}
	}
	if expired := newCertified(t, testcert.New(t, time.Now().Add(-time.Hour))); expired.said("has expired") != 1 {
		t.Error("nothing is said at the start")
	}
	if early := newCertified(t, testcert.New(t, time.Now().Add(5*365*24*time.Hour))); early.said("not valid yet") != 1 {
		t.Error("nothing is said of one that is not valid yet")
	}
}

func TestServerCertificateIsRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := testcert.New(t, inAYear()).Write(t, dir)
	_, otherKey := testcert.New(t, inAYear()).Write(t, t.TempDir())
	missing := filepath.Join(dir, "missing")
	for name, c := range map[string]struct{ cert, key, want string }{
		"no certificate": {missing, key, `cannot read --tls-certificate "` + missing + `": no such file`},
		"no key":         {cert, missing, `cannot read --tls-key "` + missing + `": no such file`},
		"a folder":       {dir, key, `cannot read --tls-certificate "` + dir + `": is a directory`},
		"another's key":  {cert, otherKey, "private key does not match"},
		"exchanged":      {key, cert, "did find a private key"},
	} {
		_, err := loadServerCertificate(c.cert, c.key, slog.New(slog.DiscardHandler))
		if err == nil || spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
