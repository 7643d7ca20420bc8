package engine

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// certificates writes ca.pem, cert.pem and key.pem as docker names them.
func certificates(t *testing.T, a *pki.Authority, s pki.Subject) (dir string) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Issue(&key.PublicKey, s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), a.PEM())
	write(t, filepath.Join(dir, "cert.pem"), pki.EncodeCertificate(leaf))
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return dir
}

// TestForeignTCP reaches an engine over TLS, which proves who it is and asks who comes.
func TestForeignTCP(t *testing.T) {
	t.Parallel()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := certificates(t, a, pki.Subject{Name: "engine", Hosts: []string{"localhost", "127.0.0.1"}})
	user := certificates(t, a, pki.Subject{Name: "deployer", Client: true})
	stranger, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := "tcp://" + listener.Addr().String()
	listener.Close()
	in := func(name string) string { return filepath.Join(server, name) }
	testneed.OwnDocker(t, "--host", host, "--tlsverify", "--tlscacert", in("ca.pem"), "--tlscert", in("cert.pem"), "--tlskey", in("key.pem"))
	with := func(dir string) Options {
		return Options{Host: host, Log: slog.New(slog.DiscardHandler), Getenv: func(name string) string {
			return map[string]string{"DOCKER_CERT_PATH": dir}[name]
		}}
	}
	e, err := Open(t.Context(), with(user))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.api.Info(t.Context()); err != nil || e.local || e.Remote() != "127.0.0.1" {
		t.Errorf("%v; it is local: %v, at %q", err, e.local, e.Remote())
	}
	p, err := e.Plan(t.Context(), spec.Instance{Name: "t"}, testDefaults())
	if err != nil || len(p.desired.Files) > 0 || e.URL(p.Instance) != "https://127.0.0.1" {
		t.Errorf("got %+v, %v", p, err)
	}
	for name, c := range map[string]struct {
		dir  string
		want string
	}{
		"no certificates":       {"", "HTTP request to an HTTPS server"},
		"a stranger's":          {certificates(t, stranger, pki.Subject{Name: "deployer", Client: true}), "certificate"},
		"a server's for a user": {server, "certificate"},
		"a folder without them": {t.TempDir(), "ca.pem"},
	} {
		_, err := Open(t.Context(), with(c.dir))
		if kind := spec.KindOf(err); kind != spec.Unavailable && kind != spec.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v (%s)", name, err, kind)
		}
	}
}

// asNobody has TestOpenAsNobody, run by a child that is nobody, open that engine.
const asNobody = "MILLWRIGHT_TEST_OPEN"

func TestOpenAsNobody(t *testing.T) {
	host := os.Getenv(asNobody)
	if host == "" {
		return // it is for the child of another test
	}
	e, err := Open(t.Context(), Options{Host: host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("it is open:", e.Close())
	}
	var known *spec.Error
	if !errors.As(err, &known) {
		t.Fatal(err)
	}
	t.Logf("%s: %v; %s", known.Kind, err, known.Hint)
}

// TestForeignNoPermission: who may not use the engine's socket is told so, and what to do.
func TestForeignNoPermission(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	host := testneed.OwnDocker(t)
	socket := strings.TrimPrefix(host, "unix://")
	if err := os.Chmod(filepath.Dir(socket), 0o711); err != nil { // as /var/run is
		t.Fatal(err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}
	dir, err := os.MkdirTemp("", "nobody") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	program, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "test"), program, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.v", "-test.run", "^TestOpenAsNobody$")
	cmd.Env, cmd.Dir = []string{asNobody + "=" + host}, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("forbidden: cannot use the Docker engine at "+host+": permission denied; run as root")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRemoteNameIsRemembered: the name that a remote host was first reached by is in its certificate,
// and stays there whoever comes by another one.
func TestRemoteNameIsRemembered(t *testing.T) {
	settle := func(at string, given spec.Instance, last *spec.Instance) spec.Instance {
		t.Helper()
		defaults := testDefaults()
		defaults.Hostname = (&Engine{at: at}).reachedBy()
		i, err := given.Over(last, defaults)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	first := settle("plant.example", spec.Instance{}, nil).Applied()
	if first.Hostname != "plant.example" {
		t.Errorf("got %q", first.Hostname)
	}
	if again := settle("10.0.0.7", spec.Instance{}, &first); again.Hostname != "plant.example" {
		t.Errorf("got %q", again.Hostname)
	}
	if given := settle("10.0.0.7", spec.Instance{Hostname: "hall.example"}, &first); given.Hostname != "hall.example" {
		t.Errorf("got %q", given.Hostname)
	}
	for _, at := range []string{"", "localhost", "127.0.0.1", "::1", "no_host name"} {
		if i := settle(at, spec.Instance{}, nil); i.Hostname != "" {
			t.Errorf("%q: got %q", at, i.Hostname)
		}
	}
	d, err := render.Deployment(settle("plant.example", spec.Instance{Ports: spec.Ports{spec.PortHTTPS: "10.0.0.7:443", spec.PortMQTTS: "10.0.0.7:8883"}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d.Containers[:2] {
		if names := strings.Join(c.Command, " "); !strings.Contains(names, "--hostname=plant.example --hostname=10.0.0.7") || strings.Count(names, "--hostname") != 2 {
			t.Errorf("%s: got %s", c.Part, names)
		}
	}
}
