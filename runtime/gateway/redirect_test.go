package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		method, target, host string
		port, status         int
		location             string
	}{
		{"GET", "/", "gateway.example", 443, 301, "https://gateway.example/"},
		{"HEAD", "/admin/?a=b&c", "gateway.example:80", 443, 301, "https://gateway.example/admin/?a=b&c"},
		{"POST", "/api/v1/login", "gateway.example:8080", 8443, 308, "https://gateway.example:8443/api/v1/login"},
		{"PUT", "/a%2Fb/%0d%0aSet-Cookie:x", "10.0.0.7", 443, 308, "https://10.0.0.7/a%2Fb/%0d%0aSet-Cookie:x"},
		{"GET", "/", "[2001:db8::1]:80", 8443, 301, "https://[2001:db8::1]:8443/"},
		{"GET", "/", "[::1]", 443, 301, "https://[::1]/"},
		{"GET", "//evil.example/x", "gateway.example", 443, 301, "https://gateway.example//evil.example/x"},
		{"GET", "/\\evil.example", "gateway.example", 443, 301, "https://gateway.example/%5Cevil.example"},
		{"GET", "/mqtt", "my_host", 443, 301, "https://my_host/mqtt"},
		{"GET", "/", "", 443, 400, ""},
		{"GET", "/", "evil.example/path", 443, 400, ""},
		{"GET", "/", "user@evil.example", 443, 400, ""},
		{"GET", "/", "a b", 443, 400, ""},
		{"GET", "/", "a\r\nSet-Cookie: x", 443, 400, ""},
		{"GET", "/", "a:b:c", 443, 400, ""},
		{"GET", "/", "[a.example]", 443, 400, ""},
		{"GET", "/", "[fe80::1%25eth0]", 443, 400, ""},
		{"GET", "/", "a.example:http", 443, 400, ""},
		{"GET", "/", "\"><script>", 443, 400, ""},
		{"GET", "/", strings.Repeat("a", 300), 443, 400, ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		redirect{c.port}.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); w.Code != c.status || got != c.location {
			t.Errorf("%s %s of %q: %d to %q, want %d to %q", c.method, c.target, c.host, w.Code, got, c.status, c.location)
		}
	}
}

// FuzzRedirect: whatever the Host header holds, the answer leads to a host that stands in it.
func FuzzRedirect(f *testing.F) {
	for _, host := range []string{"a.example", "[::1]:80", "a:1:2", "x@y", "a/b", "[::1", "%41", "a.example:"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name, ok := hostOf(host)
		if !ok {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+":8443/", nil)
		if err != nil || r.URL.Hostname() != strings.Trim(name, "[]") || r.URL.Port() != "8443" || !strings.Contains(host, name) || r.URL.User != nil {
			t.Errorf("%q leads to %q: %v", host, name, err)
		}
	})
}

// run starts a gateway, which ends with the test.
func run(t *testing.T, opts Options) *Gateway {
	t.Helper()
	opts.DataDir, opts.Log = filepath.Join(t.TempDir(), "data"), slog.New(slog.DiscardHandler)
	g, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// TestRedirectListener: the redirect is open to the network, leads to the listener over TLS, and
// serves nothing else; no connection is kept.
func TestRedirectListener(t *testing.T) {
	g := run(t, Options{ListenHTTPS: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", ListenHTTPRedirect: ":0"})
	_, port, err := net.SplitHostPort(g.bound.redirect.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/", "/healthz", "/metrics", "/api/v1/services?x=y"} {
		answer, err := client.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if to := answer.Header.Get("Location"); answer.StatusCode != http.StatusMovedPermanently || to != g.URL()+path || !answer.Close {
			t.Errorf("%s: %s to %q, kept: %v", path, answer.Status, to, !answer.Close)
		}
	}
	for request, want := range map[string]string{
		"GET / HTTP/1.0\r\n\r\n":                                                                    "HTTP/1.0 400 ",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":                                                     "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                              "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n":               "HTTP/1.1 431 ",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 4096): "HTTP/1.1 308 ",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n":            "HTTP/1.1 301 ",
		"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n":                                                "HTTP/1.1 301 ",
	} {
		if got := raw(t, "127.0.0.1:"+port, request); !strings.HasPrefix(got, want) {
			t.Errorf("%.60q: got %q", request, got)
		}
	}
}

// raw sends bytes and returns the first line of the answer.
func raw(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return fmt.Sprint(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Sprint(err)
	}
	return line
}

func TestRedirectRefuses(t *testing.T) {
	for want, opts := range map[string]Options{
		"nothing to redirect to":      {ListenHTTP: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", ListenHTTPRedirect: ":0"},
		"--public-https-port is no p": {ListenHTTPS: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", PublicHTTPSPort: 70000},
	} {
		opts.Log = slog.New(slog.DiscardHandler)
		if _, err := New(t.Context(), opts); spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestBoundedListener: one too many waits until another has gone, or the server stops.
func TestBoundedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	done := make(chan struct{})
	l := &boundedListener{Listener: inner, free: make(chan struct{}, 1), done: done}
	dial := func() {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	dial()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	dial()
	accepted := make(chan net.Conn)
	go func() {
		second, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- second
	}()
	select {
	case <-accepted:
		t.Fatal("one too many was let in")
	default:
	}
	first.Close()
	first.Close() // counts once
	defer (<-accepted).Close()
	close(done)
	if _, err := l.Accept(); err == nil {
		t.Error("one too many was let in")
	}
}
