package provider_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"

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
