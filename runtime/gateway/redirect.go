package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// redirectTimeout bounds a whole request, and its answer.
	redirectTimeout = 10 * time.Second
	// redirectHeaderBytes is the largest request that is redirected.
	redirectHeaderBytes = 16 << 10
	// redirectConnections is how many are answered at once; the next ones wait.
	redirectConnections = 256
)

// redirect sends everyone who asks in plain to the same place over TLS, and serves nothing else.
type redirect struct {
	port int // that clients reach https at
}

// hostName is what a Host header may name: a name as DNS and container engines have them.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?$`)

// ServeHTTP answers with 301 where every client knows what that means, and with 308, which has
// the client send the same method and body again, else. Neither is to be kept: the port may change.
func (d redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, ok := hostOf(r.Host)
	if !ok || !strings.HasPrefix(r.URL.Path, "/") && r.URL.Path != "" {
		http.Error(w, "this port redirects to https, and the request does not say to which host", http.StatusBadRequest)
		return
	}
	if d.port != 443 {
		host += ":" + strconv.Itoa(d.port)
	}
	to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if to.Path == "" {
		to.Path = "/"
	}
	status := http.StatusPermanentRedirect
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), status)
}

// hostOf returns the name or address in a Host header, without its port; false if it is neither.
func hostOf(header string) (string, bool) {
	host, bracketed := header, strings.HasPrefix(header, "[")
	name, port, err := net.SplitHostPort(header)
	switch {
	case err == nil:
		if _, err := strconv.ParseUint(port, 10, 16); err != nil && port != "" {
			return "", false
		}
		host = name
	case bracketed && strings.HasSuffix(header, "]"):
		host = header[1 : len(header)-1]
	}
	if strings.Contains(host, ":") != bracketed {
		return "", false // brackets stand around IPv6 addresses, and around nothing else
	}
	if bracketed {
		ip, err := netip.ParseAddr(host)
		return "[" + host + "]", err == nil && ip.Is6() && ip.Zone() == ""
	}
	return host, hostName.MatchString(host)
}

// serveRedirect answers until ctx ends.
func (g *Gateway) serveRedirect(ctx context.Context) error {
	port := g.opts.PublicHTTPSPort
	if port == 0 {
		port = g.bound.https.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // listen binds TCP
	}
	server := &http.Server{
		Handler: redirect{port}, ReadTimeout: redirectTimeout, WriteTimeout: redirectTimeout, MaxHeaderBytes: redirectHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false)
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() { stopped <- server.Close() })()
	bounded := &boundedListener{Listener: g.bound.redirect, free: make(chan struct{}, redirectConnections), done: ctx.Done()}
	if err := server.Serve(bounded); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot redirect from %s: %w", g.bound.redirect.Addr(), err)
	}
	return <-stopped
}

// boundedListener has so many connections open at once as free has room for.
type boundedListener struct {
	net.Listener
	free chan struct{} // holds one for each open connection
	done <-chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.free })}, nil
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
