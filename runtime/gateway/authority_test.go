package gateway

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// opened is a data directory that the test closes.
func opened(t *testing.T, path string) *dataDir {
	t.Helper()
	d, err := openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestAuthorityIsMadeOnceAndKept(t *testing.T) {
	dir := opened(t, t.TempDir())
	first, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := loadAuthority(dir)
	if err != nil || !bytes.Equal(first.PEM(), second.PEM()) {
		t.Errorf("another start has another authority: %v", err)
	}
	info, err := os.Stat(dir.file(authorityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(dir.file(authorityFile), first.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = loadAuthority(dir)
	var e *spec.Error
	if !errors.As(err, &e) || e.Kind != spec.Invalid || e.Hint == "" {
		t.Errorf("an authority without its key: %v", err)
	}
}

func TestOwnCertificateIsRenewed(t *testing.T) {
	dir := opened(t, t.TempDir())
	authority, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	load := func(hosts ...string) *ownCertificate {
		c, err := loadOwnCertificate(dir, authority, hosts, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	get := func(c *ownCertificate) *tls.Certificate {
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	c := load("localhost", "gateway")
	first := get(c)
	if again := get(load("localhost", "gateway")); !again.Leaf.Equal(first.Leaf) {
		t.Error("a start makes another certificate")
	}
	other := load("localhost", "press")
	if leaf := get(other).Leaf; leaf.Equal(first.Leaf) || leaf.VerifyHostname("press") != nil {
		t.Error("new names make no other certificate")
	}
	other.now = func() time.Time { return pki.RenewAt(get(load("localhost", "press")).Leaf).Add(time.Hour) }
	dated := get(other)
	if dated.Leaf.VerifyHostname("press") != nil || !dated.Leaf.NotAfter.After(first.Leaf.NotAfter.Add(24*time.Hour)) {
		t.Error("it was not renewed when its time had come")
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds a key")
	}
	if err := os.WriteFile(dir.file(serverFile), []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	if get(load("localhost", "press")) == nil || !strings.Contains(log.String(), "cannot be used") {
		t.Error("a damaged file is not replaced, or nothing is said of it")
	}
	// A disk that takes nothing leaves the certificate before in force.
	other.file = dir.file("no/such/folder.pem")
	after := dated.Leaf.NotAfter
	other.now = func() time.Time { return after }
	if !get(other).Leaf.Equal(dated.Leaf) || !strings.Contains(log.String(), "was not renewed") {
		t.Error("a renewal that failed is not told, or ends service")
	}
}

func TestServerHostsAreNamedOnce(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := serverHosts([]string{"press.example", "::1", "10.0.0.7", name, "press.example"}, l, nil, l)
	want := []string{"press.example", "10.0.0.7", name}
	slices.Sort(want)
	if want = append([]string{"localhost", "127.0.0.1", "::1"}, want...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
