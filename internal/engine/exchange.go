package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// What a container is called while another takes its place, and that one before. A pass that
// is broken off leaves these names behind; the next one goes on from them (see settle).
const (
	suffixNext     = ".next"
	suffixPrevious = ".previous"
)

// exchange is a container that takes its place, and until it is settled may have to leave it again.
type exchange struct {
	part, name string
	id         string          // of the new one
	old        *plan.Container // whose place it takes; nil: it was free
}

// create makes and starts a container that was not there.
func (a *application) create(ctx context.Context, want plan.Container) error {
	want.ImageID = a.pass.desired.Image.ID
	id, err := a.createContainer(ctx, a.pass, want, want.Name)
	if err != nil {
		return err
	}
	a.open = append(a.open, exchange{part: want.Part, name: want.Name, id: id})
	return a.bringUp(ctx, want, id)
}

// replace makes the new container beside the old one, and only then stops that one.
func (a *application) replace(ctx context.Context, want, have plan.Container) error {
	want.ImageID = a.pass.desired.Image.ID
	id, err := a.createContainer(ctx, a.pass, want, want.Name+suffixNext)
	if err != nil {
		return err
	}
	old := have
	before, held := a.pass.actual.setAside[want.Part]
	if held { // what takes its place now was never seen well: it is not what to go back to
		old = before
	}
	a.open = append(a.open, exchange{part: want.Part, name: want.Name, id: id, old: &old})
	if err := a.stop(ctx, have); err != nil {
		return err
	}
	if held {
		err = a.removeContainer(ctx, have.ID)
	} else if have.Name != want.Name+suffixPrevious {
		err = a.rename(ctx, have.ID, want.Name+suffixPrevious)
	}
	if err != nil {
		return err
	}
	if err := a.rename(ctx, id, want.Name); err != nil {
		return err
	}
	return a.bringUp(ctx, want, id)
}

// finish starts a container that is as it shall be. Where an interrupted pass has made it, its
// predecessor is put back if it does not become healthy.
func (a *application) finish(ctx context.Context, want, have plan.Container) error {
	if old, held := a.pass.actual.setAside[want.Part]; held {
		a.open = append(a.open, exchange{part: want.Part, name: want.Name, id: have.ID, old: &old})
	}
	return a.bringUp(ctx, want, have.ID)
}

func (a *application) rename(ctx context.Context, id, name string) error {
	if err := a.api.ContainerRename(ctx, id, name); err != nil {
		return a.failed("rename container "+id+" to "+name, err)
	}
	return nil
}

// bringUp starts a container, waits for its health, and settles what waited for that.
func (a *application) bringUp(ctx context.Context, want plan.Container, id string) error {
	if err := a.makeWay(ctx, want); err != nil {
		return err
	}
	if err := a.isolate(ctx, want, id); err != nil {
		return err
	}
	if err := a.startAndWait(ctx, id, want.Name); err != nil {
		return err
	}
	return a.arrived(ctx, want.Part)
}

// makeWay stops the containers that still have a port which this one needs. They are replaced
// later in the same pass; until they are, none of those before them is settled, because one
// that is put back needs its port again.
func (a *application) makeWay(ctx context.Context, want plan.Container) error {
	for _, c := range a.pass.actual.Containers {
		if c.Running && portsMeet(want, c) && a.leavesLater(c.Part) {
			if err := a.clear(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// leavesLater reports whether the part's container is yet to be replaced or deleted.
func (a *application) leavesLater(part string) bool {
	return !a.isOpen(part) && a.hasLater(func(name string, symbol plan.Symbol) bool {
		return name == part && (symbol == plan.Replace || symbol == plan.Delete)
	})
}

// replacesLater reports whether a container is yet to be replaced.
func (a *application) replacesLater() bool {
	return a.hasLater(func(_ string, symbol plan.Symbol) bool { return symbol == plan.Replace })
}

// hasLater looks for a container's step that is not done.
func (a *application) hasLater(step func(part string, symbol plan.Symbol) bool) bool {
	return slices.ContainsFunc(a.pass.Plan.Steps, func(s plan.Step) bool {
		kind, name := childOf(s.Address)
		return kind == plan.KindContainer && !a.settled[name] && step(name, s.Symbol)
	})
}

// clear stops a container before its turn.
func (a *application) clear(ctx context.Context, c plan.Container) error {
	if !slices.ContainsFunc(a.cleared, func(x plan.Container) bool { return x.Part == c.Part }) {
		a.cleared = append(a.cleared, c)
	}
	return a.stop(ctx, c)
}

func (a *application) isOpen(part string) bool {
	return slices.ContainsFunc(a.open, func(x exchange) bool { return x.part == part })
}

func portsMeet(a, b plan.Container) bool {
	return slices.ContainsFunc(a.Ports, func(x plan.PortBinding) bool {
		return slices.ContainsFunc(b.Ports, func(y plan.PortBinding) bool {
			return x.Port == y.Port && meet(x.Address, y.Address)
		})
	})
}

// arrived notes that a part is as it shall be. When no other is yet to be replaced, or waits for
// its turn stopped, those that were replaced are removed: from here on nothing is put back. So
// all parts are of one version, whatever fails.
func (a *application) arrived(ctx context.Context, part string) error {
	a.settled[part] = true
	a.cleared = slices.DeleteFunc(a.cleared, func(c plan.Container) bool { return c.Part == part })
	if len(a.cleared) > 0 || a.replacesLater() {
		return nil
	}
	if err := a.admit(ctx); err != nil {
		return err
	}
	open := a.open
	a.open = nil
	var failed error
	for _, x := range open {
		if x.old != nil {
			failed = errors.Join(failed, a.removeContainer(ctx, x.old.ID))
		}
	}
	return failed
}

// putBack undoes what is not settled: the new containers go, those whose places they took come
// back, and those that were stopped before their turn are started. Why is what went wrong; the
// error says what became of it. It also says which parts it concerned.
func (a *application) putBack(ctx context.Context, why error) (parts []string, err error) {
	if a.touched && a.pass.saved != nil {
		return a.putBackData(ctx, why)
	}
	ctx = context.WithoutCancel(ctx)
	var failed error
	for _, x := range slices.Backward(a.open) {
		failed = errors.Join(failed, a.removeContainer(ctx, x.id))
		parts = append(parts, x.part)
	}
	var up []plan.Container
	for _, x := range a.open {
		if x.old != nil {
			old := *x.old
			old.Name = x.name
			failed = errors.Join(failed, a.renameBack(ctx, old))
			up = append(up, old)
		}
	}
	for _, c := range a.cleared {
		if !a.isOpen(c.Part) {
			up = append(up, c)
		}
	}
	a.open, a.cleared = nil, nil
	var names []string
	for _, c := range up {
		names = append(names, c.Name)
		failed = errors.Join(failed, a.startAgain(ctx, c)) // it is to run, even if it did not
	}
	if failed != nil {
		return parts, errors.Join(why, spec.Errorf(spec.Unavailable, "and cannot put everything back: %w", failed).
			WithHint("see what is there (docker ps -a), and apply again"))
	}
	return parts, wasPutBack(why, names)
}

func (a *application) renameBack(ctx context.Context, old plan.Container) error {
	now, err := a.api.ContainerInspect(ctx, old.ID)
	if err != nil {
		return a.failed("look at container "+old.Name, err)
	}
	if strings.TrimPrefix(now.Name, "/") == old.Name {
		return nil
	}
	return a.rename(ctx, old.ID, old.Name)
}

func (a *application) startAgain(ctx context.Context, c plan.Container) error {
	ctx, cancel := context.WithTimeout(ctx, putBackTimeout)
	defer cancel()
	return a.startAndWait(ctx, c.ID, c.Name)
}

// wasPutBack is why, and what was put back.
func wasPutBack(why error, names []string) error {
	if len(names) == 0 {
		return why
	}
	text := "the previous container " + names[0] + " was put back"
	if len(names) > 1 {
		text = "the previous containers " + strings.Join(names, ", ") + " were put back"
	}
	e := spec.Errorf(spec.KindOf(why), "%w\n%s", why, text)
	var cause *spec.Error
	if errors.As(why, &cause) {
		e.Hint = cause.Hint
	}
	return e
}

// interrupted is the observation of one part's containers.
type interrupted struct {
	plan.Container
	healthy bool
	created int64 // seconds
}

// settle tells of the containers of one part which is the part's, which it is the predecessor of,
// and which are left over. One that runs, healthy, beside its predecessor has taken its place for good.
func (o *observation) settle(name string, found []interrupted) {
	at := func(name string) *interrupted {
		if i := slices.IndexFunc(found, func(c interrupted) bool { return c.Name == name }); i >= 0 {
			return &found[i]
		}
		return nil
	}
	own, previous := at(name), at(name+suffixPrevious)
	switch {
	case own != nil && previous != nil && !own.healthy:
		own.Interrupted = "an interrupted pass has not seen it healthy"
		o.setAside[own.Part] = previous.Container
	case own == nil && previous != nil:
		own = previous
		own.Interrupted = "an interrupted pass had set it aside"
	case own == nil:
		own = renamed(name, found)
	}
	for i := range found {
		c := &found[i]
		if c == own {
			o.Containers = append(o.Containers, c.Container)
			continue
		}
		_, held := o.setAside[c.Part]
		o.leftOver(c.ID, c.Name, held && c == previous)
	}
}

// renamed is the part's container under a name that somebody gave it, nil if there is none: the
// one that runs, else the newest.
func renamed(name string, found []interrupted) *interrupted {
	var best *interrupted
	for i := range found {
		c := &found[i]
		if c.Name == name+suffixNext {
			continue
		}
		if best == nil || c.Running && !best.Running || c.Running == best.Running && c.created > best.created {
			best = c
		}
	}
	return best
}

func (o *observation) leftOver(id, name string, held bool) {
	l := plan.Leftover{ID: id, Name: name, Cause: "has the instance's labels and is none of its containers", Held: held}
	if strings.HasSuffix(name, suffixNext) || strings.HasSuffix(name, suffixPrevious) {
		l.Cause = "an interrupted pass left it behind"
	}
	o.Leftovers = append(o.Leftovers, l)
}
