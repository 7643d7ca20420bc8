package provider_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// plan is `terraform plan`: a walk that refreshes and plans. It returns what changes.
func (c *core) plan(ctx context.Context, wishes []wish) (map[string]change, error) {
	w, err := c.walk(ctx)
	if err != nil {
		return nil, err
	}
	defer w.end()
	state, err := c.refreshed(ctx, w)
	if err != nil {
		return nil, err
	}
	changes, mu := map[string]change{}, sync.Mutex{}
	note := func(address string, one change) {
		mu.Lock()
		defer mu.Unlock()
		if one.action != "" {
			changes[address] = one
		}
	}
	gone := maps.Clone(state)
	for _, s := range wishes {
		delete(gone, s.address)
	}
	for address, o := range gone {
		one, err := w.planDelete(ctx, address, o)
		if err != nil {
			return nil, err
		}
		note(address, one)
	}
	err = inOrder(wishes, func(s wish) error {
		config := valueOf(w.typeOf(s.address), s.values)
		if err := w.validate(ctx, s.address, config); err != nil {
			return err
		}
		one, err := w.plan(ctx, s.address, config, orNull(state, s.address, w))
		note(s.address, one)
		return err
	})
	c.state = state
	return changes, err
}

func orNull(state map[string]object, address string, w *walk) object {
	if o, there := state[address]; there {
		return o
	}
	return object{value: null(w.typeOf(address))}
}

func (c *core) refreshed(ctx context.Context, w *walk) (map[string]object, error) {
	state := map[string]object{}
	for _, address := range slices.Sorted(maps.Keys(c.state)) {
		o, found, err := w.refresh(ctx, address, c.state[address])
		if err != nil {
			return nil, err
		}
		if found {
			state[address] = o
		}
	}
	return state, nil
}

func (w *walk) validate(ctx context.Context, address string, config tftypes.Value) error {
	value, err := encode(config)
	if err != nil {
		return err
	}
	answer, err := w.ValidateResourceConfig(ctx, &tfprotov6.ValidateResourceConfigRequest{
		TypeName: kindOf(address), Config: value, ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true},
	})
	if err != nil {
		return err
	}
	return failure("validate "+address, answer.Diagnostics)
}

func (w *walk) planDelete(ctx context.Context, address string, o object) (change, error) {
	c := change{action: "delete", planned: null(o.value.Type())}
	values, err := encodeAll(o.value, c.planned, c.planned)
	if err != nil {
		return c, err
	}
	answer, err := w.PlanResourceChange(ctx, &tfprotov6.PlanResourceChangeRequest{
		TypeName: kindOf(address), PriorState: values[0], ProposedNewState: values[1], Config: values[2], PriorPrivate: o.private,
	})
	if err != nil {
		return c, err
	}
	c.private = answer.PlannedPrivate
	return c, failure("plan to delete "+address, answer.Diagnostics)
}

// apply is `terraform apply`: a plan, then a walk that plans each resource once more and applies.
// What is deleted goes last, as create_before_destroy has it.
func (c *core) apply(ctx context.Context, wishes []wish) error {
	changes, err := c.plan(ctx, wishes)
	if err != nil {
		return err
	}
	w, err := c.walk(ctx)
	if err != nil {
		return err
	}
	defer w.end()
	late, mu := map[string]object{}, sync.Mutex{}
	for address, one := range changes {
		if one.action == "delete" {
			late[address] = c.state[address]
			delete(c.state, address)
		}
	}
	err = inOrder(wishes, func(s wish) error {
		one, changes := changes[s.address]
		mu.Lock()
		o := orNull(c.state, s.address, w)
		mu.Unlock()
		if changes {
			was := o
			if one.action == "replace" && !s.first {
				if err := w.remove(ctx, s.address, o); err != nil {
					return err
				}
			}
			if one.action == "replace" {
				o = object{value: null(o.value.Type())}
			}
			became, err := w.carryOut(ctx, s, o, one)
			if err != nil {
				return err
			}
			o = became
			if one.action == "replace" && s.first {
				mu.Lock()
				late[s.address] = was
				mu.Unlock()
			}
		}
		o.needs, o.first = s.needs, s.first
		mu.Lock()
		defer mu.Unlock()
		c.state[s.address] = o
		return nil
	})
	if err != nil {
		return err
	}
	return w.removeAll(ctx, late)
}

// carryOut plans once more, which must not differ, and applies.
func (w *walk) carryOut(ctx context.Context, s wish, o object, planned change) (object, error) {
	config := valueOf(w.typeOf(s.address), s.values)
	again, err := w.plan(ctx, s.address, config, o)
	if err != nil {
		return o, err
	}
	if again.action != planned.action && planned.action != "replace" {
		return o, fmt.Errorf("plan %s: %q was planned, and now %q", s.address, planned.action, again.action)
	}
	if err := keeps(planned.planned, again.planned); err != nil {
		return o, fmt.Errorf("the second plan of %s: %w", s.address, err)
	}
	return w.apply(ctx, s.address, config, o, again)
}

func (w *walk) remove(ctx context.Context, address string, o object) error {
	nothing := null(o.value.Type())
	left, err := w.apply(ctx, address, nothing, o, change{planned: nothing, private: o.private})
	if err == nil && !left.value.IsNull() {
		err = fmt.Errorf("delete %s: it is still there: %s", address, left.value)
	}
	return err
}

// removeAll deletes resources, those that need others first.
func (w *walk) removeAll(ctx context.Context, gone map[string]object) error {
	for len(gone) > 0 {
		begun := len(gone)
		for _, address := range slices.Sorted(maps.Keys(gone)) {
			needed := false
			for other, o := range gone {
				needed = needed || other != address && slices.Contains(o.needs, address)
			}
			if needed {
				continue
			}
			if err := w.remove(ctx, address, gone[address]); err != nil {
				return err
			}
			delete(gone, address)
		}
		if len(gone) == begun {
			return fmt.Errorf("cannot order the deletion of %v", slices.Sorted(maps.Keys(gone)))
		}
	}
	return nil
}

// inOrder does something with each resource after those that it needs, as many at a time as that allows.
func inOrder(wishes []wish, do func(wish) error) error {
	done, left := map[string]bool{}, wishes
	for len(left) > 0 {
		var ready, later []wish
		for _, s := range left {
			if slices.ContainsFunc(s.needs, func(n string) bool { return !done[n] }) {
				later = append(later, s)
			} else {
				ready = append(ready, s)
			}
		}
		if len(ready) == 0 {
			return fmt.Errorf("cannot order %v", left)
		}
		errs := make([]error, len(ready))
		var group sync.WaitGroup
		for n, s := range ready {
			group.Go(func() { errs[n] = do(s) })
		}
		group.Wait()
		for n, s := range ready {
			if errs[n] != nil {
				return errs[n]
			}
			done[s.address] = true
		}
		left = later
	}
	return nil
}
