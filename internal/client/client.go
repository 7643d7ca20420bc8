// Package client speaks the REST API of a Millwright instance, for the CLI and for every
// other program that applies files. It also reads and writes the context file, which says
// where an instance is and how to log in there. It holds no opinion of its own about
// desired state: the server plans, the client shows.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 60 * time.Second
	// aliveTimeout bounds the question whether an instance runs, which delays another's start.
	aliveTimeout = 2 * time.Second
	// applySlack is what an apply may take beyond the wait that it asks for.
	applySlack = 60 * time.Second
)

// Client is a connection to one instance. It is safe for use from several goroutines.
type Client struct {
	base     *url.URL
	settings Settings
	version  string // of this program; empty: not known
	log      *slog.Logger
	http     *http.Client

	answered atomic.Bool // something of this API answered

	mu    sync.Mutex // guards token
	token string
}

// New checks the settings and returns a Client. It sends nothing. The version is that of the
// program; it is said in the User-Agent and compared with the server's.
func New(s Settings, version string, log *slog.Logger) (*Client, error) {
	base, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	roots, err := certPool(s.CA)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		TLSClientConfig:       &tls.Config{RootCAs: roots, ServerName: s.ServerName, MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.SkipVerify},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          4,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: 0, // each call has its own deadline
	}
	return &Client{
		base: base, settings: s, version: version, log: log, token: s.Token,
		http: &http.Client{Transport: transport, CheckRedirect: stay},
	}, nil
}

// URL returns the address of the instance.
func (c *Client) URL() string { return c.base.String() }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Alive reports whether something at the address answers as a running instance does. It sends
// no token and does not try twice.
func (c *Client) Alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath("healthz").String(), nil)
	if err != nil {
		return false
	}
	response, err := c.http.Do(request)
	return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// stay keeps a token from travelling to where nobody sent it.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, spec.Errorf(spec.Invalid, "cannot use %q as the address of an instance", s).
			WithHint("it looks like https://gateway.example or http://127.0.0.1:8080")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, spec.Errorf(spec.Invalid, "cannot use %q as the address of an instance: only scheme, host, port and path belong in it", u.Redacted()).
			WithHint("give user name and password by MILLWRIGHT_USERNAME and MILLWRIGHT_PASSWORD")
	}
	return u, nil
}

// authorityHint says where an authority comes from.
const authorityHint = "give the PEM file of the instance's authority by --ca-path; `millwright get authority` prints it on the instance's own machine"

func certPool(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, spec.Errorf(spec.Invalid, "cannot read the certificate authority: it holds no PEM certificate").
			WithHint("%s", authorityHint)
	}
	return pool, nil
}

// currentToken returns the token to send, after logging in where only a password is known.
func (c *Client) currentToken(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" || c.settings.Username == "" {
		return c.token, nil
	}
	reply, err := c.Login(ctx, c.settings.Username, c.settings.Password)
	if err != nil {
		return "", err
	}
	c.token = reply.Token
	return c.token, nil
}

func (c *Client) userAgent() string {
	return "millwright/" + cmp.Or(c.version, "0.0.0")
}
