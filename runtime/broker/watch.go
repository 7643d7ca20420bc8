package broker

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// The pauses before a failed watch is tried again; they double.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// follow keeps the policy as the control plane wants it, until ctx ends.
func (b *Broker) follow(ctx context.Context) {
	pause := firstRetry
	for ctx.Err() == nil {
		f := &follower{b: b, ctx: ctx, synced: func() { pause = firstRetry }}
		err := b.opts.Watch.Watch(ctx, b.policy.Load().cursor, f.handle)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the stream ended")
		}
		b.log.Warn("cannot follow the policy; the last one stays in force", "error", err, "retry_in", pause.String())
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastRetry)
	}
}

// follower builds the next set of identities from one stream's events.
type follower struct {
	b      *Broker
	ctx    context.Context
	set    map[string]spec.Identity // nil between groups
	synced func()
}

func (f *follower) handle(e spec.Event[spec.Identity]) error {
	switch e.Type {
	case spec.EventSnapshot:
		f.set = map[string]spec.Identity{}
	case spec.EventPut:
		e.Value.Name = e.Key
		f.current()[e.Key] = e.Value
	case spec.EventDelete:
		delete(f.current(), e.Key)
	case spec.EventSynced:
		left := f.b.apply(f.current(), e.Cursor, e.Revision)
		f.set = nil
		f.synced()
		if err := f.b.forgetHomes(f.ctx, left); err != nil { // before the policy is kept: a crash between has it done again
			f.b.log.Error("the retained messages of who is gone may come back", "topics", left, "error", err)
		}
		if err := f.b.savePolicy(f.b.policy.Load()); err != nil {
			f.b.log.Error("cannot keep the policy on disk: a restart without the control plane would use an older one", "error", err)
		}
	default:
		return spec.Errorf(spec.Invalid, "cannot follow the policy: unknown event %q", e.Type)
	}
	return nil
}

// current returns the set under construction, begun from what is in force.
func (f *follower) current() map[string]spec.Identity {
	if f.set == nil {
		f.set = map[string]spec.Identity{}
		for name, id := range maps.All(f.b.policy.Load().identities) {
			f.set[name] = id.Identity
		}
	}
	return f.set
}
