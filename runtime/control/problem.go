package control

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// Problem is the body of every failed request (RFC 9457). A refused apply adds the plan as
// it is now; one that failed half-way adds the steps with their results.
type Problem struct {
	spec.Problem
	Plan *plan.Plan `json:"plan,omitempty"`

	retryAfter time.Duration
}

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
	_ huma.HeadersError      = (*Problem)(nil)
)

const problemType = "application/problem+json"

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="millwright"`)
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	return h
}

// statusOf is the one place that turns a kind into an HTTP status.
func statusOf(kind spec.Kind) int {
	switch kind {
	case spec.Invalid:
		return http.StatusUnprocessableEntity
	case spec.NotFound:
		return http.StatusNotFound
	case spec.Conflict:
		return http.StatusConflict
	case spec.Unauthorised:
		return http.StatusUnauthorized
	case spec.Forbidden:
		return http.StatusForbidden
	case spec.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problem turns an error into the answer. What is our own fault is logged in full, and told
// without its cause.
func (c *Control) problem(err error) *Problem {
	var (
		known    *spec.Error
		withPlan *planError
		waits    *busyError
		moved    *preconditionError
	)
	p := &Problem{}
	p.Kind = spec.KindOf(err)
	p.Status = statusOf(p.Kind)
	p.Title = http.StatusText(p.Status)
	p.Detail = err.Error()
	if errors.As(err, &known) {
		p.Detail, p.Hint, p.Diagnostics = known.Message, known.Hint, known.Diagnostics
	}
	if errors.As(err, &withPlan) {
		p.Type, p.Plan = withPlan.typ, &withPlan.plan
	}
	if errors.As(err, &moved) {
		p.Status, p.Title = http.StatusPreconditionFailed, http.StatusText(http.StatusPreconditionFailed)
	}
	if errors.As(err, &waits) {
		p.retryAfter = waits.after
	}
	if p.Kind == spec.Internal {
		c.opts.Log.Error("a request failed", "error", err)
		p.Detail = "the server failed; its log says why"
	}
	return p
}

// writeProblem answers outside of huma: routes that do not exist, requests without a token.
func (c *Control) writeProblem(w http.ResponseWriter, err error) {
	c.writeProblemStatus(w, c.problem(err))
}

func (c *Control) writeProblemStatus(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		c.opts.Log.Debug("an answer was not delivered", "error", err)
	}
}

// ownProblem turns what huma itself refuses (a query parameter that is no number, a body
// that is too large) into our form.
func ownProblem(_ huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &Problem{}
	p.Status, p.Title, p.Detail, p.Kind = model.Status, http.StatusText(model.Status), "cannot accept the request: "+model.Detail, spec.Invalid
	if model.Status >= http.StatusInternalServerError {
		p.Kind = spec.Internal
	}
	for _, detail := range model.Errors {
		p.Detail += ": " + detail.Message
		if detail.Location != "" {
			p.Detail += " (" + detail.Location + ")"
		}
	}
	return p, nil
}
