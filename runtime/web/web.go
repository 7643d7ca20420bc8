// Package web shows an instance to a person: after a log-in, one read-only page with the
// services, how their resources stand, and the last value of each endpoint with its age.
// The page is rendered here; a small script only fetches it again. Nobody sees more than
// the API and the broker let them read.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

//go:embed assets
var assets embed.FS

// Session is somebody who has logged in: it answers what they may read, at any moment.
type Session interface {
	User() string
	// Services lists the services that this user may read; whole is true if that is all.
	Services() (seen []spec.ServiceView, whole bool)
	// Resources lists a service's resources; ok is false where this user may not read them.
	Resources(service string) (all []spec.ResourceStatus, ok bool)
	// MayRead reports whether this user may read the messages on a topic.
	MayRead(topic string) bool
	// End revokes what the session was opened with.
	End(ctx context.Context) error
}

// Message is one message of the broker.
type Message struct {
	Topic   string
	Payload []byte
	Retain  bool // it was there before
}

// Options of a Page; all but Version are required.
type Options struct {
	// Login trades a password for a token. Errors of kind unauthorised and unavailable are
	// shown to who tries; the address is that of the other end.
	Login func(ctx context.Context, username, password, address string) (spec.LoginReply, error)
	// Session opens the session of a token; kind unauthorised: the token is not in force.
	Session func(ctx context.Context, token string) (Session, error)
	// Topics are those of all endpoints.
	Topics func() map[string]bool
	// Subscribe delivers what is published below services/, retained messages first, until
	// stop is called, which returns after the last deliver has. Deliver never blocks.
	Subscribe func(ctx context.Context, deliver func(Message)) (stop func(), err error)
	Log       *slog.Logger
	Version   string // of this build
}

// Page serves the page. Run keeps the last values up to date meanwhile.
type Page struct {
	opts      Options
	templates *template.Template
	values    *values
	handler   http.Handler
}

// New makes a page.
func New(opts Options) (*Page, error) {
	if opts.Login == nil || opts.Session == nil || opts.Topics == nil || opts.Subscribe == nil || opts.Log == nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a page without log-in, sessions, topics, messages and log")
	}
	templates, err := template.ParseFS(assets, "assets/*.html")
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read the page's templates: %w", err)
	}
	p := &Page{opts: opts, templates: templates, values: newValues()}
	mux := http.NewServeMux()
	for _, path := range []string{"/{$}", "/admin/{$}"} {
		mux.HandleFunc("GET "+path, p.show)
	}
	for path, do := range map[string]http.HandlerFunc{"/admin/login": p.login, "/admin/logout": p.logout} {
		mux.HandleFunc("POST "+path, do)
		mux.Handle("GET "+path, http.RedirectHandler("/", http.StatusSeeOther)) // who reloads after a refused log-in
	}
	mux.HandleFunc("GET /admin/", func(w http.ResponseWriter, _ *http.Request) {
		p.fail(w, http.StatusNotFound, "There is nothing here.")
	})
	for name, contentType := range map[string]string{
		"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		content, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return nil, spec.Errorf(spec.Internal, "cannot read a file of the page: %w", err)
		}
		mux.Handle("GET /admin/"+name, static(content, contentType))
	}
	p.handler = protect(mux, p)
	return p, nil
}

// Handler serves / and /admin/.
func (p *Page) Handler() http.Handler { return p.handler }

// protect is around all routes: what a browser may do with the page, and requests that
// another site makes it send.
func protect(next http.Handler, p *Page) http.Handler {
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fail(w, http.StatusForbidden, "Another site made your browser send this request. Nothing was done.")
	}))
	guarded := foreign.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
			"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // "no-referrer" would hide the origin of our own forms from us
		if r.TLS != nil {                       // browsers take it from nobody else
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// static serves a file that is the same for everybody, and asked for again only if it changed.
func static(content []byte, contentType string) http.Handler {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // the browser has gone; nobody is left to tell
	})
}

// pruneEvery is how often values of topics that are no endpoint's are forgotten.
const pruneEvery = 10 * time.Second

// Run keeps the last value of each endpoint until ctx ends.
func (p *Page) Run(ctx context.Context) error {
	stop, err := p.opts.Subscribe(ctx, func(m Message) { p.values.put(m, time.Now()) })
	if ctx.Err() != nil && err != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.values.prune(p.opts.Topics(), time.Now())
		}
	}
}
