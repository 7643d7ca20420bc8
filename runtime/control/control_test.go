package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

const adminPassword = "correct horse battery"

var testKey = bytes.Repeat([]byte{7}, 32)

// instance is a control part behind a real HTTP server, with its store on disk.
type instance struct {
	*testing.T
	dir     string
	control *Control
	server  *httptest.Server
	token   string // of admin
	stop    func()
}

func start(t *testing.T, change ...func(*Options)) *instance {
	t.Helper()
	i := &instance{T: t, dir: t.TempDir()}
	i.up(change...)
	created, err := i.control.Bootstrap(t.Context(), adminPassword)
	if err != nil || !created {
		t.Fatalf("bootstrap: %v, %v", created, err)
	}
	i.token = i.tokenOf("admin")
	return i
}

func (i *instance) up(change ...func(*Options)) {
	i.Helper()
	opts := Options{
		Dir: i.dir, Key: testKey, Log: slog.New(slog.DiscardHandler), Verifier: credential.NewVerifier(), Version: "1.2.3",
		MqttAddress: func() (string, int) { return "127.0.0.1", 1883 },
		Supports:    func(protocol string) bool { return protocol != "S7" },
	}
	for _, f := range change {
		f(&opts)
	}
	c, err := New(i.Context(), opts)
	if err != nil {
		i.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(i.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	i.control, i.server = c, httptest.NewServer(c.Handler())
	stopped := false
	i.stop = func() {
		if stopped {
			return
		}
		stopped = true
		i.server.CloseClientConnections()
		i.server.Close()
		cancel()
		if err := <-done; err != nil {
			i.Error(err)
		}
	}
	i.Cleanup(i.stop)
}

// again stops the instance and starts it on the same directory.
func (i *instance) again(change ...func(*Options)) {
	i.Helper()
	i.stop()
	i.up(change...)
}

func (i *instance) tokenOf(username string) string {
	i.Helper()
	token, err := i.control.IssueToken(i.Context(), username, "test", defaultTokenLife)
	if err != nil {
		i.Fatal(err)
	}
	return token.Token
}

// answer is what a request got.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   []byte
}

func (i *instance) do(method, path, token string, body any) answer {
	i.Helper()
	var reader io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			i.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(i.Context(), method, i.server.URL+path, reader)
	if err != nil {
		i.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		i.Fatal(err)
	}
	return read(i.T, response)
}

func read(t *testing.T, response *http.Response) answer {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{t, response.StatusCode, response.Header, text}
}

func (a answer) want(status int) answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("status is %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// problem checks that the request failed with the kind.
func (a answer) problem(kind spec.Kind) Problem {
	a.Helper()
	var p Problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.header.Get("Content-Type") != problemType {
		a.Fatalf("the answer %d is no problem: %s (%v)", a.status, a.body, err)
	}
	if p.Kind != kind || p.Status != a.status {
		a.Fatalf("problem is %+v, want kind %s", p, kind)
	}
	return p
}

func (a answer) plan() plan.Plan {
	a.Helper()
	return decodeAs[plan.Plan](a)
}

func decodeAs[T any](a answer) T {
	a.Helper()
	var v T
	if err := json.Unmarshal(a.want(http.StatusOK).body, &v); err != nil {
		a.Fatal(err)
	}
	return v
}

func (i *instance) planOf(req plan.Request) plan.Plan {
	i.Helper()
	return i.do(http.MethodPost, "/api/v1/plan", i.token, req).plan()
}

// apply plans and applies exactly that plan.
func (i *instance) apply(req plan.Request) plan.Plan {
	i.Helper()
	shown := i.planOf(req)
	req.Digest = shown.Digest
	return i.do(http.MethodPost, "/api/v1/apply", i.token, req).plan()
}

// press is a service of one connection and two endpoints.
const press = `description: A press
metadata: {name: press, version: "1"}
parameters:
  host: {type: string, default: 10.0.0.7}
definitions:
  INTERVAL: 1000
resources:
  plc:
    type: Cybus::Connection
    properties:
      protocol: Modbus
      connection: {host: !ref host, port: 502}
  temp:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref plc
      subscribe: {fc: 3, address: 0, length: 1, dataType: uint16BE, interval: !ref INTERVAL}
  speed:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref plc
      subscribe: {fc: 3, address: 1, length: 1, dataType: uint16BE, interval: 500}
`

func install(id, source string) plan.Request {
	return plan.Request{Services: []spec.Service{{ID: id, Commissioning: source, CommissioningFile: id + ".yml"}}}
}

func TestInstallTwice(t *testing.T) {
	i := start(t)
	p := i.apply(install("press", press))
	if !p.Applied || p.Counts() != (plan.Counts{Create: 4}) {
		t.Fatalf("plan is\n%s", p)
	}
	before := i.control.Revision()
	again := i.apply(install("press", press))
	if !again.Empty() || i.control.Revision() != before {
		t.Errorf("the second apply is\n%s", again)
	}
	reordered := strings.Replace(press, "description: A press\n", "# a comment\n", 1) + "description: 'A press'\n"
	if p := i.planOf(install("press", reordered)); !p.Empty() {
		t.Errorf("a comment, another order and quotes change\n%s", p)
	}
	edited := i.planOf(install("press", strings.Replace(press, "interval: 500", "interval: 250", 1)))
	t.Logf("\n%s", edited)
	if edited.MaxDisturbance() != plan.DisturbsEndpoint || edited.Counts() != (plan.Counts{Update: 1}) {
		t.Errorf("an edited endpoint gives\n%s", edited)
	}
}
