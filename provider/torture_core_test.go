package provider_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/millwright/millwright/provider"
)

// wish is one resource block of a configuration.
type wish struct {
	address string // such as millwright_role.r1
	values  map[string]any
	needs   []string // depends_on
	first   bool     // lifecycle { create_before_destroy = true }
}

func (w wish) kind() string { return kindOf(w.address) }

func kindOf(address string) string { kind, _, _ := strings.Cut(address, "."); return kind }

// object is one resource in a state.
type object struct {
	value    tftypes.Value
	private  []byte
	identity string
	needs    []string
	first    bool
}

// core does in this process what Terraform does with a provider, and holds the provider to what
// Terraform holds it to. Each walk has a provider of its own.
type core struct {
	version  string // of the provider
	settings map[string]any
	state    map[string]object
}

// walk is one walk of Terraform: a provider that is configured.
type walk struct {
	tfprotov6.ProviderServer
	schemas *tfprotov6.GetProviderSchemaResponse
	end     func()
}

func (c *core) walk(ctx context.Context) (*walk, error) {
	p := provider.New(cmp.Or(c.version, "test"))
	server := provider.Server(p)()
	var err error
	w := &walk{ProviderServer: server, end: func() { p.Close(ctx) }}
	if w.schemas, err = server.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{}); err != nil {
		return nil, err
	}
	config, err := encode(valueOf(w.schemas.Provider.ValueType(), c.settings))
	if err != nil {
		return nil, err
	}
	answer, err := server.ConfigureProvider(ctx, &tfprotov6.ConfigureProviderRequest{Config: config, TerraformVersion: "1.11.4"})
	if err != nil {
		return nil, err
	}
	return w, failure("the provider", answer.Diagnostics)
}

// failure is the first error among diagnostics.
func failure(what string, diagnostics []*tfprotov6.Diagnostic) error {
	for _, d := range diagnostics {
		if d.Severity == tfprotov6.DiagnosticSeverityError {
			return fmt.Errorf("%s: %s: %s", what, d.Summary, d.Detail)
		}
	}
	return nil
}

func (w *walk) block(address string) *tfprotov6.SchemaBlock {
	return w.schemas.ResourceSchemas[kindOf(address)].Block
}

func (w *walk) typeOf(address string) tftypes.Type {
	return w.schemas.ResourceSchemas[kindOf(address)].ValueType()
}

// refresh reads a resource; it reports whether it is still there.
func (w *walk) refresh(ctx context.Context, address string, o object) (object, bool, error) {
	current, err := encode(o.value)
	if err != nil {
		return o, false, err
	}
	answer, err := w.ReadResource(ctx, &tfprotov6.ReadResourceRequest{TypeName: kindOf(address), CurrentState: current, Private: o.private})
	if err == nil {
		err = failure("read "+address, answer.Diagnostics)
	}
	if err != nil {
		return o, false, err
	}
	if o.value, err = decode(answer.NewState, w.typeOf(address)); err != nil || o.value.IsNull() {
		return o, false, err
	}
	if !o.value.IsFullyKnown() {
		return o, false, fmt.Errorf("read %s: not all is known: %s", address, o.value)
	}
	o.private = answer.Private
	return o, true, o.identify(address, answer.NewIdentity)
}

// identify checks that a resource keeps its identity.
func (o *object) identify(address string, data *tfprotov6.ResourceIdentityData) error {
	if data == nil || data.IdentityData == nil {
		return fmt.Errorf("%s has no identity", address)
	}
	key := map[string]string{"millwright_role": "name", "millwright_user": "username", "millwright_service": "id"}[kindOf(address)]
	value, err := decode(data.IdentityData, tftypes.Object{AttributeTypes: map[string]tftypes.Type{"context": tftypes.String, key: tftypes.String}})
	if err != nil {
		return err
	}
	if is := canonical(value); o.identity == "" {
		o.identity = is
	} else if o.identity != is {
		return fmt.Errorf("the identity of %s was %s and is %s", address, o.identity, is)
	}
	return nil
}

// change is what a plan says of one resource.
type change struct {
	action  string // "", create, update, replace, delete
	planned tftypes.Value
	private []byte
}

// plan plans one resource; prior is null for one that is new.
func (w *walk) plan(ctx context.Context, address string, config tftypes.Value, o object) (change, error) {
	block := w.block(address)
	proposed := propose(block, o.value, config)
	values, err := encodeAll(o.value, proposed, config)
	if err != nil {
		return change{}, err
	}
	answer, err := w.PlanResourceChange(ctx, &tfprotov6.PlanResourceChangeRequest{
		TypeName: kindOf(address), PriorState: values[0], ProposedNewState: values[1], Config: values[2], PriorPrivate: o.private,
	})
	if err == nil {
		err = failure("plan "+address, answer.Diagnostics)
	}
	if err != nil {
		return change{}, err
	}
	c := change{action: "update", private: answer.PlannedPrivate}
	if c.planned, err = decode(answer.PlannedState, w.typeOf(address)); err != nil {
		return c, err
	}
	if err := checkPlanned(block, config, o.value, c.planned); err != nil {
		return c, fmt.Errorf("plan %s: %w", address, err)
	}
	switch {
	case o.value.IsNull():
		c.action = "create"
	case canonical(c.planned) == canonical(o.value):
		c.action = ""
	case len(answer.RequiresReplace) > 0:
		fresh, err := w.plan(ctx, address, config, object{value: null(o.value.Type())})
		fresh.action = "replace"
		return fresh, err
	}
	return c, nil
}

// create, change or delete one resource as planned.
func (w *walk) apply(ctx context.Context, address string, config tftypes.Value, o object, c change) (object, error) {
	values, err := encodeAll(o.value, c.planned, config)
	if err != nil {
		return o, err
	}
	answer, err := w.ApplyResourceChange(ctx, &tfprotov6.ApplyResourceChangeRequest{
		TypeName: kindOf(address), PriorState: values[0], PlannedState: values[1], Config: values[2], PlannedPrivate: c.private,
	})
	if err == nil {
		err = failure("apply "+address, answer.Diagnostics)
	}
	if err != nil {
		return o, err
	}
	became := object{private: answer.Private, identity: o.identity}
	if became.value, err = decode(answer.NewState, w.typeOf(address)); err != nil || became.value.IsNull() {
		return became, err
	}
	if !became.value.IsFullyKnown() {
		return became, fmt.Errorf("apply %s: not all is known: %s", address, became.value)
	}
	if err := keeps(c.planned, became.value); err != nil {
		return became, fmt.Errorf("apply %s: not as planned: %w", address, err)
	}
	return became, became.identify(address, answer.NewIdentity)
}

// imported is the state that an import by id begins with, as it is read.
func (w *walk) imported(ctx context.Context, address, id string) (object, error) {
	answer, err := w.ImportResourceState(ctx, &tfprotov6.ImportResourceStateRequest{TypeName: kindOf(address), ID: id})
	if err == nil {
		err = failure("import "+address, answer.Diagnostics)
	}
	if err != nil {
		return object{}, err
	}
	if len(answer.ImportedResources) != 1 {
		return object{}, fmt.Errorf("import %s: %d resources", address, len(answer.ImportedResources))
	}
	one := answer.ImportedResources[0]
	value, err := decode(one.State, w.typeOf(address))
	if err != nil {
		return object{}, err
	}
	o, found, err := w.refresh(ctx, address, object{value: value, private: one.Private})
	if err == nil && !found {
		err = fmt.Errorf("import %s: it is not there", address)
	}
	return o, err
}

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
