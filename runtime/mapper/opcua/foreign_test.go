package opcua

import (
	"bufio"
	"context"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/mappertest"
)

// foreign is a running node-opcua server.
type foreign struct {
	t     testing.TB
	pki   string
	trust string
	addr  string
	cmd   *exec.Cmd
}

// startForeign runs node-opcua, which trusts this gateway's certificate.
func startForeign(t testing.TB) *foreign {
	t.Helper()
	f := &foreign{t: t, pki: t.TempDir(), addr: "127.0.0.1:0", trust: filepath.Join(t.TempDir(), "client.pem")}
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	if err := os.WriteFile(f.trust, block, 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	t.Cleanup(f.stop)
	return f
}

// start runs the server, on the port that it had before.
func (f *foreign) start() {
	f.t.Helper()
	node, dir := testneed.Node(f.t, "node-opcua")
	_, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.cmd = exec.Command(node, "opcua-server.js", "--pki", f.pki, "--port", port, "--trust", f.trust)
	f.cmd.Dir = dir
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			f.addr = net.JoinHostPort("127.0.0.1", port)
			go func() {
				for lines.Scan() { // the pipe must not fill up
				}
			}()
			return
		}
		f.t.Log(lines.Text())
	}
	f.t.Fatal("node-opcua ended before it was ready")
}

func (f *foreign) stop() {
	if f.cmd == nil {
		return
	}
	f.cmd.Process.Signal(syscall.SIGKILL)
	f.cmd.Wait()
	f.cmd = nil
}

func (f *foreign) secure(more map[string]any) map[string]any {
	properties := map[string]any{
		"username": "operator", "password": "s3cret-pass", "trustAllCertificates": true,
		"securityMode": "SignAndEncrypt", "securityPolicy": "Basic256Sha256",
	}
	for k, v := range more {
		properties[k] = v
	}
	return properties
}

// inbox keeps what a subscription delivers.
type inbox struct {
	mu      sync.Mutex
	results []mapper.Result
	arrived chan struct{}
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{}, 1)} }

func (in *inbox) deliver(r mapper.Result) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.results = append(in.results, r)
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}

func (in *inbox) all() []mapper.Result {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]mapper.Result(nil), in.results...)
}

// wait waits until so many results are there.
func (in *inbox) wait(t testing.TB, n int) []mapper.Result {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		if all := in.all(); len(all) >= n {
			return all
		}
		select {
		case <-in.arrived:
		case <-limit:
			t.Fatalf("%d results arrived, %d are wanted: %v", len(in.all()), n, in.all())
		}
	}
}

func subscribe(t testing.TB, c mapper.Connector, s mapper.Session, id, address string) *inbox {
	t.Helper()
	in := newInbox()
	err := s.Subscribe(t.Context(), []mapper.Subscription{
		{ID: id, Point: pointOf(t, c, mapper.OpSubscribe, address), Deliver: in.deliver},
	})[0]
	if err != nil {
		t.Fatalf("cannot subscribe to %s: %v", address, err)
	}
	return in
}

// TestForeignServer talks to node-opcua in each policy and mode, and with every data type.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	f := startForeign(t)
	for _, secured := range []struct{ mode, policy string }{
		{"None", "None"},
		{"Sign", "Basic256Sha256"},
		{"SignAndEncrypt", "Basic256Sha256"},
		{"Sign", "Aes128_Sha256_RsaOaep"},
		{"SignAndEncrypt", "Aes128_Sha256_RsaOaep"},
		{"SignAndEncrypt", "Aes256_Sha256_RsaPss"},
	} {
		t.Run(secured.mode+secured.policy, func(t *testing.T) {
			c := connect(t, f.addr, f.secure(map[string]any{"securityMode": secured.mode, "securityPolicy": secured.policy}))
			s := dial(t, c)
			defer s.Close()
			r := s.Read(t.Context(), []mapper.Point{pointOf(t, c, mapper.OpRead, `{"nodeId":"ns=1;s=Line.Int64"}`)})[0]
			if r.Err != nil || r.Value != int64(-9007199254740993) {
				t.Errorf("Int64 = %v, %v", r.Value, r.Err)
			}
		})
	}
	t.Run("Sessions", func(t *testing.T) { // each waits for something of its own
		t.Run("One", func(t *testing.T) { t.Parallel(); testForeignSession(t, f) })
		t.Run("Renewal", func(t *testing.T) { t.Parallel(); testForeignRenewal(t, f) })
		t.Run("FrozenLink", func(t *testing.T) { t.Parallel(); testFrozenLink(t, f) })
	})
	t.Run("Restart", func(t *testing.T) { testForeignRestart(t, f) })
}

// testForeignRefusals checks what a user is told.
func testForeignRefusals(t *testing.T, f *foreign) {
	for _, tc := range []struct {
		name       string
		properties map[string]any
		kind       spec.Kind
		want       []string
	}{
		{"password", map[string]any{"password": "wrong"}, spec.Unauthorised, []string{`as "operator"`, "user name or password", "BadUserAccessDenied"}},
		{"anonymous", map[string]any{"username": "", "password": ""}, spec.Unauthorised, []string{"without a user name"}},
		{"untrusted server", map[string]any{"trustAllCertificates": false}, spec.Unavailable, []string{"cannot trust the server's certificate", "SHA-256", "caCert is not set"}},
		{"policy", map[string]any{"securityPolicy": "Aes256_Sha256_RsaPss", "securityMode": "Sign", "port": f.closedPort()}, spec.Unavailable, []string{"cannot connect"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, f.addr, f.secure(tc.properties))
			wantDialError(t, c, tc.kind, tc.want...)
		})
	}
}

func (f *foreign) closedPort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func wantDialError(t *testing.T, c mapper.Connector, kind spec.Kind, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := c.Dial(ctx)
	if err == nil {
		s.Close()
		t.Fatal("the server is dialled")
	}
	t.Log(err)
	if spec.KindOf(err) != kind {
		t.Errorf("kind %q, want %q", spec.KindOf(err), kind)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// testForeignSession does what one session can do.
func testForeignSession(t *testing.T, f *foreign) {
	c := connect(t, f.addr, f.secure(nil))
	s := dial(t, c)
	defer s.Close()
	t.Run("Types", func(t *testing.T) { testForeignTypes(t, c, s) })
	t.Run("Limits", func(t *testing.T) { testForeignLimits(t, c, s) })
	t.Run("Subscribe", func(t *testing.T) { testForeignSubscribe(t, c, s) })
	t.Run("Events", func(t *testing.T) { testForeignEvents(t, c, s) })
	t.Run("BadEvents", func(t *testing.T) { testForeignBadEvents(t, c, s) })
	t.Run("Write", func(t *testing.T) { testForeignWrite(t, c, s) })
	t.Run("Method", func(t *testing.T) { testForeignMethod(t, c, s) })
	t.Run("Refusals", func(t *testing.T) { testForeignRefusals(t, f) })
	t.Run("RejectsCertificate", func(t *testing.T) { testForeignRejectsCertificate(t, f) })
	t.Run("Trusted", func(t *testing.T) { testForeignTrusted(t, f) })
	t.Run("Probe", func(t *testing.T) { testForeignProbe(t, f) })
	t.Run("Browse", func(t *testing.T) { testForeignBrowse(t, f) })
}

// testForeignRejectsCertificate is the first contact with a server that nobody has told about
// this gateway.
func testForeignRejectsCertificate(t *testing.T, f *foreign) {
	cert, key, err := NewClientCertificate("stranger.test")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(cert)
	stranger := f.secure(map[string]any{"clientCert": string(cert), "clientPrivateKey": string(key)})
	wantDialError(t, connect(t, f.addr, stranger), spec.Unavailable,
		"refuses this gateway's certificate", "Millwright on stranger.test", fingerprint(block.Bytes))
}

// testForeignTrusted gives the server's own certificate as caCert.
func testForeignTrusted(t *testing.T, f *foreign) {
	own, err := os.ReadFile(filepath.Join(f.pki, "own", "certs", "certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trusting := f.secure(map[string]any{"trustAllCertificates": false, "caCert": string(own)})
	s := dial(t, connect(t, f.addr, trusting))
	s.Close()
	other, _, err := NewClientCertificate("other")
	if err != nil {
		t.Fatal(err)
	}
	trusting["caCert"] = string(other)
	wantDialError(t, connect(t, f.addr, trusting), spec.Unavailable, "cannot trust the server's certificate")
}

// testForeignRestart kills the server and starts it again on its port.
func testForeignRestart(t *testing.T, f *foreign) {
	c := connect(t, f.addr, f.secure(nil))
	s := dial(t, c)
	defer s.Close()
	subscribe(t, c, s, "counter", `{"nodeId":"ns=1;s=Line.Counter","publishInterval":100}`).wait(t, 2)
	f.stop()
	<-s.Done()
	if s.Err() == nil {
		t.Error("the server was killed, and Err says nothing")
	}
	f.start()
	again := dial(t, c)
	defer again.Close()
	subscribe(t, c, again, "counter", `{"nodeId":"ns=1;s=Line.Counter","publishInterval":100}`).wait(t, 2)
}

// testFrozenLink freezes the network without closing a connection.
func testFrozenLink(t *testing.T, f *foreign) {
	proxy := mappertest.NewProxy(t, f.addr)
	c := connect(t, proxy.Addr(), f.secure(nil))
	hurry(c)
	s := dial(t, c)
	defer s.Close()
	subscribe(t, c, s, "counter", `{"nodeId":"ns=1;s=Line.Counter","publishInterval":100}`).wait(t, 2)
	proxy.Set(mappertest.Hang)
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the link is frozen, and the session goes on")
	}
	if s.Err() == nil {
		t.Error("the link is frozen, and Err says nothing")
	}
}
