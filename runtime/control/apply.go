package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// planError is a refused or failed apply together with a plan: the one that is true now, or
// the one whose steps say what was and was not done.
type planError struct {
	cause error
	typ   string // a problem type that tells clients what happened; empty: only the kind
	plan  plan.Plan
}

func (e *planError) Error() string { return e.cause.Error() }

func (e *planError) Unwrap() error { return e.cause }

// The problem types that clients tell apart.
const (
	typeMoved       = "about:plan-moved"
	typeDisturbs    = "about:max-disturbance"
	typeUnsupported = "about:unsupported"
	typeNotReached  = "about:target-not-reached"
)

// planOf says what applying the request would do.
func (c *Control) planOf(ctx context.Context, who *caller, req plan.Request) (plan.Plan, error) {
	d, err := c.newDraft(ctx, who, req)
	if err != nil {
		return plan.Plan{}, err
	}
	p, err := d.plan()
	if err != nil {
		return p, err
	}
	if err := d.checkDisturbance(p); err != nil {
		return p, err
	}
	return d.complete(p)
}

func (d *draft) checkDisturbance(p plan.Plan) error {
	most := p.MaxDisturbance()
	if d.req.MaxDisturbance == "" || !most.Exceeds(d.req.MaxDisturbance) {
		return nil
	}
	return &planError{
		cause: spec.Errorf(spec.Conflict, "cannot apply this plan: it disturbs the %s, and at most %q is allowed", most, d.req.MaxDisturbance).
			WithHint("nothing was changed; allow it by --max-disturbance %s, or wait for a better moment", most),
		typ: typeDisturbs, plan: p,
	}
}

func (d *draft) checkUnsupported(p plan.Plan) error {
	unsupported := p.Unsupported()
	if len(unsupported) == 0 || d.req.AllowUnsupported {
		return nil
	}
	return &planError{
		cause: spec.Errorf(spec.Invalid, "cannot apply what this build cannot run: %s", strings.Join(unsupported, ", ")).
			WithHint("install the rest with --allow-unsupported (\"allow_unsupported\": true); the service is deviated then"),
		typ: typeUnsupported, plan: p,
	}
}

// apply carries a request out, object by object, and waits until the parts have taken over
// what changed.
func (c *Control) apply(ctx context.Context, who *caller, req plan.Request) (plan.Plan, error) {
	return c.applyIf(ctx, who, req, func(*model) error { return nil })
}

// applyIf is apply where the check accepts the state that it would change.
func (c *Control) applyIf(ctx context.Context, who *caller, req plan.Request, check func(*model) error) (plan.Plan, error) {
	wait, err := waitOf(req)
	if err != nil {
		return plan.Plan{}, err
	}
	p, services, err := c.applyObjects(ctx, who, req, check)
	if err != nil {
		return p, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return c.settle(ctx, waiting, req.Wait, services, p)
}

const defaultWait = 60 * time.Second

// maxWait bounds how long a request may be held.
const maxWait = time.Hour

func waitOf(req plan.Request) (time.Duration, error) {
	switch req.Wait {
	case "", plan.WaitInstalled, plan.WaitConnected, plan.WaitData:
	default:
		return 0, spec.Errorf(spec.Invalid, "cannot wait for %q: it is installed, connected or data", req.Wait)
	}
	if req.Timeout == "" {
		return defaultWait, nil
	}
	wait, err := time.ParseDuration(req.Timeout)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, spec.Errorf(spec.Invalid, "cannot use timeout %q: give a duration such as 60s, at most %s", req.Timeout, maxWait)
	}
	return wait, nil
}

// applyObjects plans and stores under the one lock, so that what is stored is what was
// planned. It also returns the ids of the services that shall be there.
func (c *Control) applyObjects(ctx context.Context, who *caller, req plan.Request, check func(*model) error) (plan.Plan, []string, error) {
	if req.Digest == "" && req.Confirm != "any" {
		return plan.Plan{}, nil, spec.Errorf(spec.Invalid, "cannot apply without the digest of the plan that was shown").
			WithHint("send \"digest\", or \"confirm\": \"any\"")
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := check(c.model.Load()); err != nil {
		return plan.Plan{}, nil, err
	}
	d, err := c.newDraft(ctx, who, req)
	if err != nil {
		return plan.Plan{}, nil, err
	}
	p, err := d.plan()
	if err != nil {
		return p, nil, err
	}
	if req.Digest != "" && req.Digest != p.Digest {
		return p, nil, &planError{
			cause: spec.Errorf(spec.Conflict, "cannot apply the plan that was shown: the state moved, and the plan is another now").
				WithHint("look at the new plan, and apply again"),
			typ: typeMoved, plan: p,
		}
	}
	for _, check := range []func(plan.Plan) error{d.checkDisturbance, d.checkUnsupported, d.checkUnsaid, func(p plan.Plan) error { return d.authorise(p.Steps) }} {
		if err := check(p); err != nil {
			return p, nil, err
		}
	}
	// What is begun is ended, whether or not the client still listens.
	done, err := plan.Apply(context.WithoutCancel(ctx), p, (*target)(d), nil)
	done.Revision = c.model.Load().revision
	c.tell(who, done)
	if err != nil {
		return done, nil, &planError{cause: err, plan: done}
	}
	var services []string
	for _, s := range d.input.Desired.Services {
		services = append(services, s.ID)
	}
	return done, services, nil
}

// target stores the draft's objects.
type target draft

// ApplyObject stores or deletes one object in one transaction, and publishes the new model.
func (t *target) ApplyObject(ctx context.Context, address string, steps []plan.Step) error {
	kind, name, _ := strings.Cut(address, "/")
	next := t.model.Load().clone()
	var err error
	switch kind {
	case "role":
		err = t.applyRole(ctx, next, name)
	case "user":
		err = t.applyUser(ctx, next, name, steps)
	case "service":
		err = t.applyService(ctx, next, name)
	default:
		err = spec.Errorf(spec.Internal, "cannot apply %q: no such kind", address)
	}
	if err != nil {
		return err
	}
	t.bring(next)
	t.rebind(next, map[string]bool{name: kind == "service"})
	t.publish(next)
	return nil
}

func (t *target) applyRole(ctx context.Context, next *model, name string) (err error) {
	r, keep := t.after.roles[name]
	next.revision, err = t.store.mutate(ctx, func(tx *transaction) error {
		if !keep {
			return tx.deleteRole(name)
		}
		return tx.putRole(r)
	})
	delete(next.roles, name)
	if keep {
		r.Revision = next.revision
		next.roles[name] = r
	}
	return err
}

func (t *target) applyUser(ctx context.Context, next *model, name string, steps []plan.Step) (err error) {
	u, keep := t.after.users[name]
	password, changed := t.passwords[name]
	if keep && changed {
		if u.Password, err = credential.HashPassword(password); err != nil {
			return err
		}
	}
	next.revision, err = t.store.mutate(ctx, func(tx *transaction) error {
		if !keep {
			return tx.deleteUser(name)
		}
		if changed && steps[0].Symbol != plan.Create {
			if err := tx.deleteSessionsOf(name); err != nil {
				return err
			}
		}
		return tx.putUser(u)
	})
	delete(next.users, name)
	if keep {
		u.Revision = next.revision
		next.users[name] = u
	}
	return err
}

func (t *target) applyService(ctx context.Context, next *model, id string) (err error) {
	s, keep := t.after.services[id]
	if keep {
		copied := *s
		s = &copied
		s.record.UpdatedAt = time.Now().UTC()
	}
	next.revision, err = t.store.mutate(ctx, func(tx *transaction) error {
		for name, u := range t.before.brought.users {
			if _, stays := t.after.brought.users[name]; !stays && u.Owner == ownerServicePrefix+id {
				if err := tx.deleteTokensOf(name); err != nil {
					return err
				}
			}
		}
		if !keep {
			return tx.deleteService(id)
		}
		return tx.putService(s.record)
	})
	delete(next.services, id)
	if keep {
		s.record.Revision = next.revision
		next.services[id] = s
	}
	return err
}

// tell notes an apply in the log and the stream of events.
func (c *Control) tell(who *caller, p plan.Plan) {
	for _, s := range p.Steps {
		if s.Address != objectAddress(s.Address) && s.Result != plan.Failed {
			continue
		}
		attributes := []any{
			"symbol", s.Symbol, "address", s.Address, "cause", s.Cause, "result", s.Result, "user", who.username, "revision", p.Revision,
		}
		if s.Error != "" {
			attributes = append(attributes, "error", s.Error)
		}
		c.opts.Log.Info("applied", attributes...)
	}
	if !p.Empty() {
		c.addEvent(Event{Kind: EventApplied, User: who.username, Revision: p.Revision, Steps: addressesOf(p.Steps)})
	}
}

func addressesOf(steps []plan.Step) []string {
	list := make([]string, 0, len(steps))
	for _, s := range steps {
		list = append(list, string(s.Symbol)+" "+s.Address)
	}
	return list
}

// settle waits until the parts have taken over the plan's changes, and then for the target
// states that were asked for. A part that is away is a warning; a state that is not reached
// in time is an error, though everything is stored.
func (c *Control) settle(ctx, waiting context.Context, wait plan.WaitFor, services []string, p plan.Plan) (plan.Plan, error) {
	if !p.Empty() {
		if err := c.waitTakenOver(waiting); err != nil {
			if ctx.Err() != nil {
				return p, spec.Errorf(spec.Unavailable, "cannot wait longer: %w", ctx.Err())
			}
			p.Diagnostics = append(p.Diagnostics, spec.Diagnostic{Position: spec.Position{File: "instance"}, Severity: spec.SeverityWarning, Code: "not-taken-over", Message: err.Error()})
		}
	}
	err := c.waitReached(waiting, wait, services)
	p.Deviations = c.deviationsOf(services)
	if err == nil {
		return p, nil
	}
	var e *spec.Error
	if !errors.As(err, &e) {
		return p, err
	}
	return p, &planError{cause: e, typ: typeNotReached, plan: p}
}

func (c *Control) deviationsOf(services []string) []spec.Deviation {
	m := c.model.Load()
	var all []spec.Deviation
	for _, id := range services {
		if s, ok := m.services[id]; ok {
			_, deviations := c.serviceState(m, s)
			all = append(all, deviations...)
		}
	}
	return all
}
