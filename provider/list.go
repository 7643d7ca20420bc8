package provider

import (
	"context"
	"net/url"
	"sync"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// pageSize is the largest page that an instance gives.
const pageSize = "1000"

// list is one kind of object, read once for all resources of a walk.
type list[V any] struct {
	mu   sync.Mutex // held while the list is read: who comes meanwhile waits for the answer
	read bool
	byID map[string]V
	err  error
}

func (l *list[V]) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read, l.byID, l.err = false, nil, nil
}

// all returns the objects by id. An error is remembered too: an instance that does not answer
// is not asked again for each resource.
func (l *list[V]) all(ctx context.Context, objects client.Collection[V], id func(V) string) (map[string]V, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read {
		return l.byID, l.err
	}
	items, err := objects.List(ctx, url.Values{"limit": {pageSize}})
	if ctx.Err() != nil {
		return nil, err
	}
	l.read, l.err, l.byID = true, err, map[string]V{}
	for _, item := range items {
		l.byID[id(item)] = item
	}
	return l.byID, err
}

// one returns one object; a missing one is not an error. Who may not list everything asks for
// each object.
func (l *list[V]) one(ctx context.Context, objects client.Collection[V], id func(V) string, name string) (v V, found bool, err error) {
	all, err := l.all(ctx, objects, id)
	if spec.KindOf(err) == spec.Forbidden {
		v, err = objects.Get(ctx, name)
		if spec.KindOf(err) == spec.NotFound {
			return v, false, nil
		}
		return v, err == nil, err
	}
	v, found = all[name]
	return v, found, err
}

func serviceID(v spec.ServiceView) string { return v.ID }

func username(v spec.UserView) string { return v.Username }

func roleName(v spec.RoleView) string { return v.Name }

// service reads one service as the list has it, without its source.
func (p *plant) service(ctx context.Context, id string) (spec.ServiceView, bool, error) {
	return p.services.one(ctx, p.client.Services(), serviceID, id)
}

// user reads one account.
func (p *plant) user(ctx context.Context, name string) (spec.UserView, bool, error) {
	return p.users.one(ctx, p.client.Users(), username, name)
}

// role reads one role.
func (p *plant) role(ctx context.Context, name string) (spec.RoleView, bool, error) {
	return p.roles.one(ctx, p.client.Roles(), roleName, name)
}
