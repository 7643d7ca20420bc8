package provider

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// The pauses before a change is asked for again that surely was not begun.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 8 * time.Second
	attempts   = 4
)

// preview is the server's own plan of one object. What else the request holds is there for it to
// refer to, and is planned by its own resource.
func (p *plant) preview(ctx context.Context, req plan.Request, address string) (plan.Plan, error) {
	req.Authorise, req.Outline = !p.unchecked, true
	answer, err := p.client.Plan(ctx, req)
	if err != nil {
		return plan.Plan{}, err
	}
	own := *answer
	own.Steps = nil
	for _, s := range answer.Steps {
		if s.Address == address || strings.HasPrefix(s.Address, address+"/") {
			own.Steps = append(own.Steps, s)
		}
	}
	return own, nil
}

// previewNew is preview of an object that the state does not hold: one that is there already is
// an error, unless it is to be taken over.
func (p *plant) previewNew(ctx context.Context, req plan.Request, address string) (plan.Plan, error) {
	own, err := p.preview(ctx, req, address)
	if err != nil {
		return own, err
	}
	if !own.Empty() && own.Steps[0].Symbol == plan.Create {
		p.outlook.vacate(address)
		return own, nil
	}
	if req.Adopt || p.outlook.owns(address) {
		return own, nil
	}
	return own, p.taken(address)
}

// checkVacant refuses to create what is there already, unless it is to be taken over. Terraform
// plans a creation once more right before it; where that told enough, nothing is asked.
func checkVacant[V any](ctx context.Context, p *plant, objects client.Collection[V], address string, h how) error {
	if h.Adopt.ValueBool() || p.outlook.vacant(address) {
		return nil
	}
	_, name, _ := strings.Cut(address, "/")
	_, err := objects.Get(ctx, name)
	switch spec.KindOf(err) {
	case "":
		return p.taken(address)
	case spec.NotFound:
		return nil
	}
	return err
}

// previewDelete warns of what a deletion disturbs. Whether something else still needs the
// object is left to the apply: that may go first.
func (p *plant) previewDelete(ctx context.Context, req plan.Request, address, object string, diags *diag.Diagnostics) error {
	own, err := p.preview(ctx, req, address)
	var refused *client.PlanError
	if spec.KindOf(err) == spec.Conflict && !errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	if own.MaxDisturbance() != plan.DisturbsNone {
		addDisturbance(diags, object, own)
	}
	return nil
}

// apply has the server bring one object to its desired state, and waits as long as how says.
// A request that surely did nothing is sent again; any other is not, since nobody knows.
func (p *plant) apply(ctx context.Context, req plan.Request, h how, operation string) (*plan.Plan, error) {
	wait := h.timeout(operation)
	ctx, cancel := context.WithTimeout(ctx, wait+graceTime)
	defer cancel()
	defer p.changed()
	req.Confirm, req.Timeout = "any", wait.String()
	req = h.request(req)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		done, err := p.client.Apply(ctx, req)
		if err == nil {
			return done, failedStep(*done)
		}
		asked, untouched := client.Untouched(err)
		if !untouched || attempt == attempts {
			return nil, err
		}
		if !sleep(ctx, min(max(pause, asked), maxPause)) {
			return nil, err
		}
		pause *= 2
	}
}

// graceTime is what an answer may take beyond the time that the server waits.
const graceTime = 30 * time.Second

// failedStep is the error of an apply that stopped half-way.
func failedStep(p plan.Plan) error {
	for _, s := range p.Steps {
		if s.Result == plan.Failed {
			return spec.Errorf(spec.Unavailable, "cannot apply %s: %s", s.Address, s.Error)
		}
	}
	return nil
}

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stored reports whether a failed apply may have stored the object all the same: it then stands
// in the state, so that the next apply goes on from there.
func stored(err error) bool {
	var answered *client.PlanError
	if errors.As(err, &answered) {
		return answered.Type == client.TypeNotReached || answered.Type == ""
	}
	kind := spec.KindOf(err)
	_, untouched := client.Untouched(err)
	return !untouched && (kind == spec.Unavailable || kind == spec.Internal)
}

// inVain reports whether everything was done, and only the wait for what it should lead to failed.
func inVain(err error) bool {
	var answered *client.PlanError
	return errors.As(err, &answered) && answered.Type == client.TypeNotReached
}

// taken is the error of a new object that is there already, although neither the state nor the
// configuration accounts for it.
func (p *plant) taken(address string) error {
	kind, name, _ := strings.Cut(address, "/")
	id := name
	if p.name != "" {
		id = p.name + "/" + name
	}
	return spec.Errorf(spec.Conflict, "%s %q exists already, and this state does not hold it", kind, name).
		WithHint("import it (import { to = millwright_%s.NAME, id = %q }), or take it over as it will be declared with adopt = true", kind, id)
}

// stillHeld adds to the refusal of a deletion what makes Terraform change first what still
// refers to the object.
func stillHeld(err error) error {
	var e *spec.Error
	if spec.KindOf(err) == spec.Conflict && errors.As(err, &e) && e.Hint != "" {
		return e.WithHint("%s. Where the same apply changes what refers to it: lifecycle { create_before_destroy = true } on this resource has that done first", e.Hint)
	}
	return err
}

// notYet adds to the refusal of a reference what makes Terraform plan first what it refers to.
func notYet(err error) error {
	var e *spec.Error
	if spec.KindOf(err) == spec.Invalid && errors.As(err, &e) && e.Hint != "" {
		return e.WithHint("%s. Where the same apply makes it: refer to that resource, or name it in depends_on", e.Hint)
	}
	return err
}
