package web

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// maxForm bounds what a log-in sends.
const maxForm = 16 << 10

// formPatience is how long it may take to send it.
const formPatience = 10 * time.Second

// cookieName names the session's cookie. Over TLS its prefix makes the browser refuse one
// that another host, or a plain connection, sets. Cookies do not tell ports apart, so the
// name does: several instances may share a host.
func cookieName(r *http.Request) string {
	name := "millwright"
	if _, port, err := net.SplitHostPort(r.Host); err == nil && len(port) <= 5 && strings.Trim(port, "0123456789") == "" {
		name += "-" + port
	}
	if r.TLS != nil {
		return "__Host-" + name
	}
	return name
}

func setCookie(w http.ResponseWriter, r *http.Request, token string, expires time.Time) {
	c := &http.Cookie{
		Name: cookieName(r), Value: token, Path: "/", Expires: expires, MaxAge: int(time.Until(expires).Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// session opens the session of a request; nil without an error: it has none that is in force.
func (p *Page) session(r *http.Request) (Session, error) {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil, nil
	}
	s, err := p.opts.Session(r.Context(), c.Value)
	if spec.KindOf(err) == spec.Unauthorised {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// readForm reads what a form sent, within bounds of size and time.
func readForm(w http.ResponseWriter, r *http.Request) error {
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(formPatience)); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return err
	}
	return connection.SetReadDeadline(time.Time{})
}

// login trades the form's password for a cookie.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	var tooLarge *http.MaxBytesError
	switch err := readForm(w, r); {
	case errors.As(err, &tooLarge):
		p.fail(w, http.StatusRequestEntityTooLarge, "That is too long for a user name and a password.")
		return
	case err != nil:
		p.fail(w, http.StatusBadRequest, "The form could not be read.")
		return
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	reply, err := p.opts.Login(r.Context(), r.PostForm.Get("username"), r.PostForm.Get("password"), address)
	switch spec.KindOf(err) {
	case "":
	case spec.Unauthorised:
		p.loginForm(w, http.StatusUnauthorized, "Wrong user name or password.")
		return
	case spec.Unavailable:
		p.loginForm(w, http.StatusServiceUnavailable, "Too many log-ins were wrong or wait. Try again a little later.")
		return
	default:
		p.broken(w, err)
		return
	}
	if former, err := p.session(r); err == nil && former != nil {
		p.end(r, former)
	}
	setCookie(w, r, reply.Token, reply.ExpiresAt)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logout revokes the session's token and removes the cookie.
func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	s, err := p.session(r)
	if err != nil {
		p.broken(w, err)
		return
	}
	if s != nil {
		if err := s.End(r.Context()); err != nil {
			p.broken(w, err)
			return
		}
	}
	setCookie(w, r, "", time.Time{})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// end revokes a session that another one replaces; if it cannot be, it ends when its time has come.
func (p *Page) end(r *http.Request, s Session) {
	if err := s.End(r.Context()); err != nil {
		p.opts.Log.Warn("a session that was replaced goes on", "user", s.User(), "error", err)
	}
}
