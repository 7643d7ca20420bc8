package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// maxProblem bounds what is read of a failed request's answer.
const maxProblem = 16 << 20

// problem is what a failed request answers; a refused apply adds the plan as it is now, one
// that failed half-way the steps with their results.
type problem struct {
	spec.Problem
	Plan *plan.Plan `json:"plan"`
}

// PlanError is a refused or failed apply together with the plan that the server answered:
// the new one if the state moved, else the one whose steps say what was and was not done.
type PlanError struct {
	Err  *spec.Error
	Type string // one of Type*; empty: a step failed
	Plan *plan.Plan
}

// What happened to an apply that was not carried out as asked.
const (
	TypeMoved       = "about:plan-moved"         // the state moved: the plan is the new one
	TypeDisturbs    = "about:max-disturbance"    // it would disturb too much; nothing was done
	TypeUnsupported = "about:unsupported"        // this build cannot run some resource; nothing was done
	TypeNotReached  = "about:target-not-reached" // all was done, but the wait was in vain
)

// Error returns the message.
func (e *PlanError) Error() string { return e.Err.Message }

// Unwrap returns the error, so that spec.KindOf finds it.
func (e *PlanError) Unwrap() error { return e.Err }

// failure turns an answer that is not 2xx into an error.
func (c *Client) failure(response *http.Response, loggedIn bool) error {
	if response.StatusCode/100 == 3 {
		return spec.Errorf(spec.Invalid, "cannot use %s: it redirects to %q", c.base.Redacted(), response.Header.Get("Location")).
			WithHint("use that address itself")
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the answer of %s: %w", response.Request.URL.Redacted(), err)
	}
	p, ok := parseProblem(response.Header.Get("Content-Type"), text)
	if !ok {
		return c.busyOr(response, c.foreignAnswer(response, text))
	}
	e := &spec.Error{
		Kind:        cmp.Or(p.Kind, kindOfStatus(response.StatusCode)),
		Message:     cmp.Or(p.Detail, p.Title, response.Status),
		Hint:        p.Hint,
		Diagnostics: p.Diagnostics,
	}
	if e.Kind == spec.Unauthorised && e.Hint == "" {
		e.Hint = loginHint(loggedIn)
	}
	if p.Plan != nil {
		return &PlanError{Err: e, Type: p.Type, Plan: p.Plan}
	}
	return c.busyOr(response, e)
}

func (c *Client) busyOr(response *http.Response, e *spec.Error) error {
	if response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusTooManyRequests {
		return &busyError{error: e, after: retryAfter(response.Header)}
	}
	return e
}

func parseProblem(contentType string, text []byte) (problem, bool) {
	var p problem
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || (mediaType != "application/problem+json" && mediaType != "application/json") {
		return p, false
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	return p, d.Decode(&p) == nil
}

// foreignAnswer is about an answer that is not of this API: of a proxy's, or of something else's.
func (c *Client) foreignAnswer(response *http.Response, text []byte) *spec.Error {
	e := spec.Errorf(kindOfStatus(response.StatusCode), "cannot use %s: it answers %s", response.Request.URL.Redacted(), response.Status)
	switch {
	case e.Kind == spec.Unavailable:
		return e.WithHint("something in front of the instance answers for it: look whether the instance itself runs")
	case c.base.Scheme == "http" && strings.Contains(string(text), "HTTP request to an HTTPS server"):
		return e.WithHint("the port speaks TLS: try https://%s", c.base.Host)
	}
	return e.WithHint("check the address: the answer is not of this API")
}

// kindOfStatus is for answers that do not say their kind, such as a proxy's.
func kindOfStatus(status int) spec.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return spec.Invalid
	case http.StatusUnauthorized:
		return spec.Unauthorised
	case http.StatusForbidden:
		return spec.Forbidden
	case http.StatusNotFound:
		return spec.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return spec.Conflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return spec.Unavailable
	}
	return spec.Internal
}

func loginHint(loggedIn bool) string {
	if loggedIn {
		return "the token is wrong, expired or revoked: log in again with `millwright login`"
	}
	return "log in with `millwright login`, or give a token by --token or MILLWRIGHT_TOKEN"
}

// unreachable says why no answer came. It keeps the cause: a refused connection is tried again.
func (c *Client) unreachable(request *http.Request, err error) error {
	where := c.base.Redacted()
	switch {
	case request.Context().Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return spec.Errorf(spec.Unavailable, "cannot wait longer for %s: no answer in time: %w", where, context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return spec.Errorf(spec.Unavailable, "stopped before %s answered: %w", where, context.Canceled)
	}
	e := spec.Errorf(spec.Unavailable, "cannot reach %s: %w", where, innermost(err))
	if absent := c.settings.absentConfig; absent != "" {
		return e.WithHint("%s stands in for an address that nothing gives: MILLWRIGHT_CONFIG names %q, which does not exist", where, absent)
	}
	if hint := c.unreachableHint(err); hint != "" {
		return e.WithHint("%s", hint)
	}
	return e
}

// unreachableHint says what to do about it; empty where that is not known.
func (c *Client) unreachableHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		record    tls.RecordHeaderError
		lookup    *net.DNSError
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start an instance with `millwright up`, see that the one on Docker is not stopped, or name another by --url or --context"
	case errors.As(err, &authority):
		return "give the certificate authority of the instance by --ca-path"
	case errors.As(err, &name):
		return "use the name that the certificate is for"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the port does not speak TLS: try http://" + c.base.Host
	case errors.As(err, &lookup):
		return fmt.Sprintf("check the name %q in --url or the context", lookup.Name)
	case speaksNoHTTP(err) && c.answered.Load():
		return "the connection was cut off, after other requests had been answered: look whether the instance was restarted, and try again"
	case speaksNoHTTP(err):
		return "what listens there does not speak HTTP; if it is the MQTT broker, give the address of the API, such as http://127.0.0.1:8080"
	}
	return ""
}

// speaksNoHTTP recognises what another protocol's server does about a request: it hangs up,
// or answers something else. net/http has no error value for the latter.
func speaksNoHTTP(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		strings.Contains(err.Error(), "malformed HTTP")
}

// innermost drops net/http's prefix, which repeats method and URL.
func innermost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s %s: %w", op.Op, op.Net, op.Err)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
