package control

import (
	"net/http"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// matches reports whether an If-Match or If-None-Match header names the tag.
func matches(header, tag string) bool {
	return slices.ContainsFunc(strings.Split(header, ","), func(one string) bool {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		return one == "*" || one == tag
	})
}

// preconditionError is an If-Match that names another revision than the object's.
type preconditionError struct{ cause *spec.Error }

func (e *preconditionError) Error() string { return e.cause.Error() }

func (e *preconditionError) Unwrap() error { return e.cause }

// ifMatch makes a check, to be made under the lock of the apply, that the object still has
// the revision which the header names; without a header everything passes.
func ifMatch(header, address string) func(*model) error {
	return func(m *model) error {
		revision, exists := m.revisionOf(address)
		if header == "" || exists && matches(header, etag(revision)) {
			return nil
		}
		now := "it does not exist"
		if exists {
			now = "its revision is " + etag(revision)
		}
		return &preconditionError{spec.Errorf(spec.Conflict, "cannot change %s: If-Match asks for %s, and %s", address, header, now).
			WithHint("read the object again, and decide anew")}
	}
}

// revisionOf is the revision that the route of a role, user or service shows.
func (m *model) revisionOf(address string) (revision int64, exists bool) {
	kind, name, _ := strings.Cut(address, "/")
	switch kind {
	case "role":
		r, ok := m.role(name)
		return r.Revision, ok
	case "user":
		u, ok := m.user(name)
		return u.Revision, ok
	}
	s, ok := m.services[name]
	if !ok {
		return 0, false
	}
	return s.record.Revision, true
}

// addressOfOne is the address of the only object of a request.
func addressOfOne(req plan.Request) string {
	switch {
	case len(req.Roles) > 0:
		return plan.RoleAddress(req.Roles[0].Name)
	case len(req.Users) > 0:
		return plan.UserAddress(req.Users[0].Username)
	}
	return plan.ServiceAddress(req.Services[0].ID)
}

// tagged is an answer with an ETag.
type tagged interface{ tag() string }

func (o *oneOutput[T]) tag() string { return o.ETag }

func (o *listOutput[T]) tag() string { return o.ETag }

// notModified answers a read whose client has the revision already.
type notModified struct{ tag string }

func (n notModified) Error() string { return "not modified" }

// GetStatus implements huma.StatusError.
func (n notModified) GetStatus() int { return http.StatusNotModified }

// GetHeaders implements huma.HeadersError.
func (n notModified) GetHeaders() http.Header { return http.Header{"Etag": {n.tag}} }
