package ansible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// attempts bounds how often a state that moves under the task is planned anew.
const attempts = 5

// bring has the instance plan the request and, outside of check mode, apply exactly that.
// "changed" is whether the plan holds a step, so it is the same in every mode. A state that
// moves in between is planned again: no person has seen the plan, so none is surprised.
func (t *task) bring(ctx context.Context, r plan.Request) error {
	r.Adopt = t.args.flag("adopt")
	r.MaxDisturbance = plan.Disturbance(t.args.text("max_disturbance"))
	for attempt := 1; ; attempt++ {
		p, err := t.planned(ctx, r)
		if err != nil {
			return err
		}
		if unsupported := p.Unsupported(); len(unsupported) > 0 && !r.AllowUnsupported {
			return spec.Errorf(spec.Invalid, "cannot apply what this build cannot run: %s", strings.Join(unsupported, ", ")).
				WithHint("allow_unsupported installs the rest; the service is deviated then")
		}
		if t.check || p.Empty() && (r.Wait == "" || r.Wait == plan.WaitInstalled) {
			return t.report(*p)
		}
		r.Digest = p.Digest
		err = t.apply(ctx, r)
		var moved *client.PlanError
		if !errors.As(err, &moved) || moved.Type != client.TypeMoved || attempt == attempts {
			return err
		}
	}
}

func (t *task) apply(ctx context.Context, r plan.Request) error {
	wait := t.args.seconds("timeout")
	if _, ok := t.args["wait_timeout"]; ok {
		wait = t.args.seconds("wait_timeout")
	}
	r.Timeout = wait.String()
	ctx, cancel := context.WithTimeout(ctx, wait+t.args.seconds("timeout"))
	defer cancel()
	done, err := t.client.Apply(ctx, r)
	if err == nil {
		return errors.Join(t.report(*done), failedStep(*done))
	}
	var answered *client.PlanError
	if !errors.As(err, &answered) || answered.Type == client.TypeMoved || answered.Type == client.TypeDisturbs {
		return err
	}
	return errors.Join(err, t.report(*answered.Plan))
}

// failedStep is the error of an apply that stopped half-way.
func failedStep(p plan.Plan) error {
	for _, s := range p.Steps {
		if s.Result == plan.Failed {
			return spec.Errorf(spec.Unavailable, "cannot apply %s: %s", s.Address, s.Error).
				WithHint("what is done stays done; run the task again to go on")
		}
	}
	return nil
}

// report puts a plan, as it was asked for or carried out, into the result.
func (t *task) report(p plan.Plan) error {
	p.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s plan.Step) bool { return slices.Contains(t.expected, s.Address) })
	t.result["changed"] = slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Result == "" || s.Result == plan.Done })
	t.result["plan"] = map[string]any{
		"summary": p.Summary(), "disturbs": string(p.MaxDisturbance()), "revision": p.Revision, "digest": p.Digest, "steps": p.Steps,
	}
	if !p.Empty() {
		t.result["msg"] = p.Summary()
	}
	for _, d := range p.Diagnostics {
		t.warn(warning(d))
	}
	for _, d := range p.Deviations {
		text := fmt.Sprintf("%s is %s", d.Address, d.State)
		if d.Error != "" {
			text += ": " + d.Error
		}
		t.warn(text)
	}
	if !t.diff {
		return nil
	}
	var err error
	t.result["diff"], err = diffOf(p)
	return err
}

// plain turns a value into JSON's own types; numbers keep all their digits.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot encode the result: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot encode the result: %w", err)
	}
	return out, nil
}

// show puts an object as it is now into the result; in check mode one that is not there yet
// is left out.
func show[V any](ctx context.Context, t *task, name string, objects client.Collection[V], id string, drop ...string) error {
	view, err := ask(ctx, t, func(ctx context.Context) (V, error) { return objects.Get(ctx, id) })
	if spec.KindOf(err) == spec.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := plain(view)
	if object, ok := v.(map[string]any); ok {
		for _, key := range drop {
			delete(object, key)
		}
	}
	t.result[name] = v
	return err
}

// warning renders a diagnostic where Ansible itself says that it is a warning.
func warning(d spec.Diagnostic) string {
	text := d.Message
	if place := d.Position.String(); place != "" {
		text = place + ": " + text
	}
	if d.Hint != "" {
		text += " (" + d.Hint + ")"
	}
	return text
}
