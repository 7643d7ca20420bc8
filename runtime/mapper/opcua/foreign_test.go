package opcua

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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

// startForeign runs node-opcua, which trusts this gateway's certificate if trust is set.
func startForeign(t testing.TB, trust bool) *foreign {
	t.Helper()
	f := &foreign{t: t, pki: t.TempDir(), addr: "127.0.0.1:0"}
	if trust {
		cert, err := testCertificate()
		if err != nil {
			t.Fatal(err)
		}
		f.trust = filepath.Join(t.TempDir(), "client.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
		if err := os.WriteFile(f.trust, block, 0o600); err != nil {
			t.Fatal(err)
		}
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
	args := []string{"opcua-server.js", "--pki", f.pki, "--port", port}
	if f.trust != "" {
		args = append(args, "--trust", f.trust)
	}
	f.cmd = exec.Command(node, args...)
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
	f := startForeign(t, true)
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
	c := connect(t, f.addr, f.secure(nil))
	s := dial(t, c)
	defer s.Close()
	t.Run("Types", func(t *testing.T) { testForeignTypes(t, c, s) })
	t.Run("Limits", func(t *testing.T) { testForeignLimits(t, c, s) })
	t.Run("Subscribe", func(t *testing.T) { testForeignSubscribe(t, c, s) })
	t.Run("Write", func(t *testing.T) { testForeignWrite(t, c, s) })
	t.Run("Method", func(t *testing.T) { testForeignMethod(t, c, s) })
	t.Run("Refusals", func(t *testing.T) { testForeignRefusals(t, f) })
	t.Run("Trusted", func(t *testing.T) { testForeignTrusted(t, f) })
	t.Run("Probe", func(t *testing.T) { testForeignProbe(t, f) })
	t.Run("Browse", func(t *testing.T) { testForeignBrowse(t, f) })
	t.Run("Links", func(t *testing.T) {
		t.Run("Renewal", func(t *testing.T) { t.Parallel(); testForeignRenewal(t, f) })
		t.Run("FrozenLink", func(t *testing.T) { t.Parallel(); testFrozenLink(t, f) })
	})
	t.Run("Restart", func(t *testing.T) { testForeignRestart(t, f) })
}

func testForeignTypes(t *testing.T, c mapper.Connector, s mapper.Session) {
	cases := []struct {
		name string
		want any
		err  string
	}{
		{name: "Boolean", want: true},
		{name: "SByte", want: int64(-128)},
		{name: "Byte", want: uint64(255)},
		{name: "Int16", want: int64(-32768)},
		{name: "UInt16", want: uint64(65535)},
		{name: "Int32", want: int64(-2147483648)},
		{name: "UInt32", want: uint64(4294967295)},
		{name: "Int64", want: int64(-9007199254740993)},
		{name: "UInt64", want: uint64(18446744073709551615)},
		{name: "Float", want: 0.1},
		{name: "Double", want: 1e-7},
		{name: "String", want: "Füllstand"},
		{name: "DateTime", want: "2026-11-22T20:00:00.25Z"},
		{name: "Guid", want: "72962B91-FA75-4AE6-8D28-B404DC7DAF63"},
		{name: "ByteString", want: "AQL/"},
		{name: "NodeId", want: "ns=1;s=Line"},
		{name: "LocalizedText", want: "closed"},
		{name: "QualifiedName", want: "1:Press"},
		{name: "StatusCode", want: "BadNotConnected"},
		{name: "Doubles", want: []any{1.5, -2.0, 3.0}},
		{name: "Matrix", want: []any{[]any{int64(1), int64(2), int64(3)}, []any{int64(4), int64(5), int64(6)}}},
		{name: "Bad", err: "BadSensorFailure"},
		{name: "Nonsense", err: "BadNodeIdUnknown"},
	}
	points := make([]mapper.Point, len(cases))
	for i, tc := range cases {
		points[i] = pointOf(t, c, mapper.OpRead, fmt.Sprintf(`{"nodeId":"ns=1;s=Line.%s"}`, tc.name))
	}
	for i, r := range s.Read(t.Context(), points) {
		tc := cases[i]
		switch {
		case tc.err != "":
			if r.Err == nil || r.Err.Error() != tc.err {
				t.Errorf("%s: %v, want the error %s", tc.name, r.Err, tc.err)
			}
		case r.Err != nil || !reflect.DeepEqual(r.Value, tc.want):
			t.Errorf("%s = %v (%T), %v, want %v (%T)", tc.name, r.Value, r.Value, r.Err, tc.want, tc.want)
		}
	}
}

// testForeignLimits reads, translates and subscribes more than the server's 10 at once.
func testForeignLimits(t *testing.T, c mapper.Connector, s mapper.Session) {
	var points []mapper.Point
	var subs []mapper.Subscription
	var boxes []*inbox
	for i := range 35 {
		points = append(points, pointOf(t, c, mapper.OpRead, fmt.Sprintf(`{"browsePath":"/Objects/1:Line/1:Many/1:Many.%d"}`, i)))
		boxes = append(boxes, newInbox())
		subs = append(subs, mapper.Subscription{
			ID: fmt.Sprint(i), Point: points[i], Deliver: boxes[i].deliver,
		})
	}
	for i, r := range s.Read(t.Context(), points) {
		if r.Err != nil || r.Value != int64(i) {
			t.Errorf("Many.%d = %v, %v", i, r.Value, r.Err)
		}
	}
	for i, err := range s.Subscribe(t.Context(), subs) {
		if err != nil {
			t.Fatal(err)
		}
		if r := boxes[i].wait(t, 1)[0]; r.Value != int64(i) {
			t.Errorf("Many.%d first gives %v, %v", i, r.Value, r.Err)
		}
	}
	var ids []string
	for _, sub := range subs {
		ids = append(ids, sub.ID)
	}
	if err := s.Unsubscribe(t.Context(), ids); err != nil {
		t.Error(err)
	}
}

func testForeignSubscribe(t *testing.T, c mapper.Connector, s mapper.Session) {
	in := subscribe(t, c, s, "counter", `{"nodeId":"ns=1;s=Line.Counter","publishInterval":100,"samplingInterval":50}`)
	var last int64
	for i, r := range in.wait(t, 10) {
		n, ok := r.Value.(int64)
		if !ok || i > 0 && n <= last {
			t.Errorf("value %d is %v after %d, %v", i, r.Value, last, r.Err)
		}
		last = n
	}
	bad := subscribe(t, c, s, "bad", `{"nodeId":"ns=1;s=Line.Bad","publishInterval":100}`)
	if r := bad.wait(t, 1)[0]; r.Err == nil || r.Err.Error() != "BadSensorFailure" {
		t.Errorf("a bad value is delivered as %v, %v", r.Value, r.Err)
	}
	err := s.Subscribe(t.Context(), []mapper.Subscription{{
		ID: "deadband", Deliver: newInbox().deliver,
		Point: pointOf(t, c, mapper.OpSubscribe, `{"nodeId":"ns=1;s=Line.String","deadband":1}`),
	}})[0]
	if err == nil || !strings.Contains(err.Error(), "deadband") {
		t.Errorf("a deadband on a text: %v", err)
	}
}

func testForeignWrite(t *testing.T, c mapper.Connector, s mapper.Session) {
	for _, tc := range []struct {
		name, value string
		want        any
		err         string
	}{
		{name: "Setpoint", value: `12.5`, want: 12.5},
		{name: "Setpoint", value: `7`, want: 7.0},
		{name: "Preset", value: `9007199254740993`, want: int64(9007199254740993)},
		{name: "Preset", value: `9223372036854775808`, err: "does not fit into Int64"},
		{name: "Recipe", value: `"steel"`, want: "steel"},
		{name: "Recipe", value: `5`, err: "String is expected"},
		{name: "Small", value: `256`, err: "does not fit into Byte"},
		{name: "Small", value: `255.0`, want: uint64(255)},
		{name: "Limits", value: `[-5,5]`, want: []any{int64(-5), int64(5)}},
		{name: "Limits", value: `5`, err: "a list of Int32 is expected"},
		{name: "Float", value: `5`, err: "BadNotWritable"},
		{name: "Nonsense", value: `5`, err: "BadNodeIdUnknown"},
	} {
		address := fmt.Sprintf(`{"nodeId":"ns=1;s=Line.%s"}`, tc.name)
		r := s.Write(t.Context(), pointOf(t, c, mapper.OpWrite, address), payload(t, tc.value))
		if tc.err != "" {
			if r.Err == nil || !strings.Contains(r.Err.Error(), tc.err) {
				t.Errorf("writing %s to %s: %v, want %q", tc.value, tc.name, r.Err, tc.err)
			}
			continue
		}
		back := s.Read(t.Context(), []mapper.Point{pointOf(t, c, mapper.OpRead, address)})[0]
		if r.Err != nil || !reflect.DeepEqual(back.Value, tc.want) || !reflect.DeepEqual(r.Value, tc.want) {
			t.Errorf("wrote %s to %s: %v, %v; read back %v, %v", tc.value, tc.name, r.Value, r.Err, back.Value, back.Err)
		}
	}
}

func payload(t testing.TB, text string) mapper.Payload {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return mapper.Payload{Value: v, Raw: []byte(text)}
}

func testForeignMethod(t *testing.T, c mapper.Connector, s mapper.Session) {
	add := pointOf(t, c, mapper.OpWrite, `{"nodeId":"ns=1;s=Line.Add","nodeType":"Method"}`)
	for _, arguments := range []string{`[40, 2]`, `{"b": 2, "a": 40}`} {
		if r := s.Write(t.Context(), add, payload(t, arguments)); r.Err != nil || r.Value != int64(42) {
			t.Errorf("Add(%s) = %v, %v", arguments, r.Value, r.Err)
		}
	}
	for _, arguments := range []string{`[40]`, `{"c": 1, "a": 2}`, `["x", 2]`, `null`} {
		if r := s.Write(t.Context(), add, payload(t, arguments)); r.Err == nil {
			t.Errorf("Add(%s) = %v, want an error", arguments, r.Value)
		}
	}
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

// TestForeignRejectsCertificate is the first contact with a server that nobody has told about
// this gateway.
func TestForeignRejectsCertificate(t *testing.T) {
	t.Parallel()
	f := startForeign(t, false)
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	wantDialError(t, connect(t, f.addr, f.secure(nil)), spec.Unavailable,
		"refuses this gateway's certificate", "Millwright on gateway.test", fingerprint(cert.Certificate[0]))
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
