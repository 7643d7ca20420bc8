package web

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// show answers with the page, or with the log-in where nobody has logged in.
func (p *Page) show(w http.ResponseWriter, r *http.Request) {
	s, err := p.session(r)
	if err != nil {
		p.broken(w, err)
		return
	}
	if s == nil {
		p.showNobody(w, r)
		return
	}
	number, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || number < 1 {
		number = 1
	}
	v := p.look(s, time.Now())
	if id := r.URL.Query().Get("service"); id != "" {
		if !v.one(id, number) {
			p.fail(w, http.StatusNotFound, "There is no such service, or you may not see it.")
			return
		}
	} else {
		v.overview(number)
	}
	p.render(w, http.StatusOK, "page.html", v)
}

// againCookie remembers for a moment that a browser was told to ask again, so that none is told twice.
const againCookie = "millwright-again"

// showNobody answers who has no session. A browser keeps the cookie back from who follows a
// link on another site; it sends it with the request that our own answer makes it send.
func (p *Page) showNobody(w http.ResponseWriter, r *http.Request) {
	_, none := r.Cookie(cookieName(r))
	_, first := r.Cookie(againCookie)
	switch {
	case none == nil:
		setCookie(w, r, "", time.Time{})
		p.loginForm(w, http.StatusOK, "Your session has ended. Log in again.")
	case first != nil && r.Header.Get("Sec-Fetch-Site") == "cross-site":
		http.SetCookie(w, &http.Cookie{Name: againCookie, Value: "1", Path: "/", MaxAge: 10, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
		p.render(w, http.StatusOK, "again.html", notice{Version: p.opts.Version})
	default:
		p.loginForm(w, http.StatusOK, "")
	}
}

// notice is what is said where the page is not shown.
type notice struct {
	Version string
	Message string
}

func (p *Page) loginForm(w http.ResponseWriter, status int, message string) {
	p.render(w, status, "login.html", notice{p.opts.Version, message})
}

func (p *Page) fail(w http.ResponseWriter, status int, message string) {
	p.render(w, status, "failed.html", notice{p.opts.Version, message})
}

// broken answers where we ourselves failed; the log says why.
func (p *Page) broken(w http.ResponseWriter, err error) {
	p.opts.Log.Error("a request of the page failed", "error", err)
	status := http.StatusInternalServerError
	if spec.KindOf(err) == spec.Unavailable {
		status = http.StatusServiceUnavailable
	}
	p.fail(w, status, "The instance cannot answer now. Its log says why.")
}

func (p *Page) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		p.opts.Log.Error("the page cannot be rendered", "template", name, "error", err)
		http.Error(w, "The page cannot be shown. The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser has gone; nobody is left to tell
}
