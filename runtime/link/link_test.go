package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// server is a control part behind TLS, as the gateway serves it.
type server struct {
	*testing.T
	dir, tokens string
	authority   *pki.Authority
	control     *control.Control
	url         string
	stop        func()
	log         *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{T: t, dir: t.TempDir(), tokens: t.TempDir(), log: &lockedBuffer{}}
	s.newAuthority()
	s.start("127.0.0.1:0")
	return s
}

func (s *server) newAuthority() {
	s.Helper()
	var err error
	if s.authority, err = pki.NewAuthority(time.Now()); err != nil {
		s.Fatal(err)
	}
}

func (s *server) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (s *server) start(addr string) {
	s.Helper()
	c, err := control.New(s.Context(), control.Options{
		Dir: s.dir, Key: bytes.Repeat([]byte{7}, 32), Log: s.logger(), Verifier: credential.NewVerifier(),
		MqttAddress: func() (string, int) { return "broker", 1883 }, Authority: s.authority, JoinTokens: s.tokens,
	})
	if err != nil {
		s.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		s.Fatal(err)
	}
	leaf, err := s.authority.Issue(&key.PublicKey, pki.Subject{Name: "control", Hosts: []string{pki.ControlName}}, time.Now())
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	h := httptest.NewUnstartedServer(c.Handler())
	h.Listener.Close()
	if h.Listener, err = net.Listen("tcp", addr); err != nil {
		s.Fatal(err)
	}
	h.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: s.authority.Pool(), MinVersion: tls.VersionTLS12,
	}
	h.Config.ErrorLog = slog.NewLogLogger(s.logger().Handler(), slog.LevelDebug)
	h.StartTLS()
	s.control, s.url = c, h.URL
	s.stop = sync.OnceFunc(func() {
		h.CloseClientConnections()
		h.Close()
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(s.stop)
}

func (s *server) addr() string { return strings.TrimPrefix(s.url, "https://") }

// token has the server let a part in, by the file of that name.
func (s *server) token(part string) (file string) {
	s.Helper()
	file = filepath.Join(s.tokens, part)
	if err := os.WriteFile(file, []byte(credential.Generate("mwj_")+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	return file
}

// part runs a link until the test, or stop, ends it.
func (s *server) part(name, dir, tokenFile string) (l *Link, stop func()) {
	s.Helper()
	l, err := New(Options{
		URL: s.url, Part: name, File: filepath.Join(dir, "part.pem"), TokenFile: tokenFile, Hosts: []string{"plant.example", pki.ControlName}, Log: s.logger(),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			s.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.Cleanup(stop)
	return l, stop
}

func joined(t *testing.T, l *Link) {
	t.Helper()
	select {
	case <-l.Joined():
	case <-time.After(20 * time.Second):
		t.Fatal("the part has not joined")
	}
}

func TestJoinWatchAndReport(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	tokenFile := s.token(spec.BrokerPart)
	l, stop := s.part(spec.BrokerPart, dir, tokenFile)
	joined(t, l)
	serving, err := l.ServerCertificate(nil)
	if err != nil || serving.Leaf.VerifyHostname("plant.example") != nil || serving.Leaf.VerifyHostname(pki.BrokerName) != nil {
		t.Errorf("the broker cannot serve with its certificate: %v", err)
	}
	if serving.Leaf.VerifyHostname(pki.ControlName) == nil {
		t.Error("the broker got the control part's name by asking")
	}
	groups := make(chan map[string]spec.Identity, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var cursor string
	follow := func(after string) {
		set := map[string]spec.Identity{}
		ended <- l.Policy().Watch(ctx, after, func(e spec.Event[spec.Identity]) error {
			switch e.Type {
			case spec.EventPut:
				set[e.Key] = e.Value
			case spec.EventSynced:
				cursor = e.Cursor
				groups <- set
				set = map[string]spec.Identity{}
			}
			return nil
		})
	}
	go follow("")
	if first := <-groups; len(first[control.MessagesIdentity].Permissions) != 2 {
		t.Errorf("the snapshot is %v", first)
	}
	if _, err := s.control.Bootstrap(t.Context(), "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	if delta := <-groups; len(delta) != 1 || len(delta["admin"].Credentials) != 1 {
		t.Errorf("the change is %v", delta)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the watch ended without saying why")
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go follow(cursor)
	if nothing := <-groups; len(nothing) != 0 {
		t.Errorf("resumed, it sends %v again", nothing)
	}
	if err := l.Report(t.Context(), spec.AgentStatus{Agent: "press", Full: true}); spec.KindOf(err) != spec.Forbidden {
		t.Errorf("the broker may report for another: %v", err)
	}
	if err := l.Resources().Watch(t.Context(), "", nil); spec.KindOf(err) != spec.Forbidden {
		t.Errorf("the broker may watch what mappers do, who have secrets: %v", err)
	}
	stop()
	again, _ := s.part(spec.BrokerPart, dir, "") // a restart needs no token
	joined(t, again)
	one, err1 := l.Secret()
	two, err2 := again.Secret()
	if err1 != nil || err2 != nil || one != two {
		t.Error("a restart logs in at the broker with another secret")
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string]string{"the token": strings.TrimSpace(string(token)), "the secret": one, "a key": "PRIVATE"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%s is in the log", what)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "part.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file has mode %v, %v", info.Mode(), err)
	}
}

func TestTokenLetsInOnce(t *testing.T) {
	s := newServer(t)
	tokenFile := s.token("hall2")
	l, _ := s.part("hall2", t.TempDir(), tokenFile)
	joined(t, l)
	thief, err := New(Options{URL: s.url, Part: "hall2", File: filepath.Join(t.TempDir(), "part.pem"), TokenFile: tokenFile, Log: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := thief.join(t.Context()); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("the token lets another one in: %v", err)
	}
	if err := l.join(t.Context()); err != nil {
		t.Errorf("a part whose answer was lost cannot ask again: %v", err)
	}
	other, err := New(Options{URL: s.url, Part: "hall3", File: filepath.Join(t.TempDir(), "part.pem"), TokenFile: tokenFile, Log: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.join(t.Context()); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("the token lets in another part: %v", err)
	}
	if err := l.renew(t.Context()); err != nil {
		t.Errorf("it cannot be renewed: %v", err)
	}
	if err := other.Report(t.Context(), spec.AgentStatus{Agent: "hall3", Full: true}); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("a part that has not joined reports: %v", err)
	}
}

// A part does not show its token to whoever answers at the control part's address.
func TestTokenIsNotShownToStrangers(t *testing.T) {
	s := newServer(t)
	tokenFile := filepath.Join(t.TempDir(), "token") // which this instance does not know
	if err := os.WriteFile(tokenFile, []byte(credential.Generate("mwj_")), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{URL: s.url, Part: "hall2", File: filepath.Join(t.TempDir(), "part.pem"), TokenFile: tokenFile, Log: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.join(t.Context()); spec.KindOf(err) != spec.Unauthorised || !strings.Contains(err.Error(), "does not know the token") {
		t.Errorf("it got as far as %v", err)
	}
}

// A control part that has lost everything has another authority; the parts join it by themselves.
func TestJoinAnew(t *testing.T) {
	s := newServer(t)
	l, _ := s.part("hall2", t.TempDir(), s.token("hall2"))
	joined(t, l)
	before := l.identity().Chain[1]
	addr := s.addr()
	s.stop()
	s.dir = t.TempDir()
	s.newAuthority()
	s.start(addr)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := l.Report(t.Context(), spec.AgentStatus{Agent: "hall2", Full: true})
		if err == nil {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
	if l.identity().Chain[1].Equal(before) {
		t.Error("the authority is still the one before")
	}
}

func TestForgottenPart(t *testing.T) {
	s := newServer(t)
	tokenFile := s.token("hall2")
	l, stop := s.part("hall2", t.TempDir(), tokenFile)
	joined(t, l)
	if err := l.Resources().Watch(t.Context(), "", func(e spec.Event[spec.Resource]) error {
		if e.Type == spec.EventSynced {
			return errors.New("enough")
		}
		return nil
	}); err == nil || err.Error() != "enough" {
		t.Fatal(err)
	}
	stop()
	if _, err := s.control.Bootstrap(t.Context(), "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	if err := s.control.ForgetAgent(t.Context(), "hall2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Report(t.Context(), spec.AgentStatus{Agent: "hall2", Full: true}); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("it still reports: %v", err)
	}
	if err := l.join(t.Context()); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("the token that it had lets it in again: %v", err)
	}
	token, err := s.control.IssueJoinToken(t.Context(), "hall2")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tokenFile, []byte(token.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.join(t.Context()); err != nil {
		t.Errorf("another token does not let it in: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Options{URL: "https://control", Part: "hall2", File: filepath.Join(dir, "part.pem"), TokenFile: "t", Log: slog.New(slog.DiscardHandler)}
	for want, change := range map[string]func(*Options){
		"address of the control part": func(o *Options) { o.URL = "http://control" },
		"that of a part":              func(o *Options) { o.Part = "control" },
		"nor a join token":            func(o *Options) { o.TokenFile = "" },
		"something else than PEM":     func(o *Options) { o.File = bad },
	} {
		o := good
		change(&o)
		if _, err := New(o); spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
