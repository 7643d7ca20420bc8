package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type serviceModel struct {
	how
	ID                  types.String      `tfsdk:"id"`
	Commissioning       commissioningText `tfsdk:"commissioning"`
	Parameters          types.Dynamic     `tfsdk:"parameters"`
	ParametersWO        types.Dynamic     `tfsdk:"parameters_wo"`
	ParametersWOVersion types.String      `tfsdk:"parameters_wo_version"`
	Enabled             types.Bool        `tfsdk:"enabled"`
	WaitFor             types.String      `tfsdk:"wait_for"`
	AllowUnsupported    types.Bool        `tfsdk:"allow_unsupported"`
	DeleteVolumes       types.Bool        `tfsdk:"delete_volumes_on_destroy"`

	State     types.String `tfsdk:"state"`
	Digest    types.String `tfsdk:"digest"`
	Resources types.Map    `tfsdk:"resources"`
	Topics    types.Set    `tfsdk:"topics"`
	Links     types.List   `tfsdk:"links"`
}

var (
	outlineType = types.ObjectType{AttrTypes: map[string]attr.Type{"type": types.StringType, "topic": types.StringType, "digest": types.StringType}}
	linkType    = types.ObjectType{AttrTypes: map[string]attr.Type{"name": types.StringType, "href": types.StringType}}
)

func (m *serviceModel) place() *how {
	if m == nil {
		return nil
	}
	return &m.how
}

func (m *serviceModel) object() string { return fmt.Sprintf("service %q", m.ID.ValueString()) }

func (m *serviceModel) address() string { return plan.ServiceAddress(m.ID.ValueString()) }

func (m *serviceModel) absent() plan.Request {
	return plan.Request{Services: []spec.Service{{ID: m.ID.ValueString(), State: spec.Absent, DeleteVolumes: m.DeleteVolumes.ValueBool()}}}
}

// desired is what a configuration asks for. Secrets are sent when their version is another than
// the state's; else their version stands for those that are installed.
func (m *serviceModel) desired(ctx context.Context, was *serviceModel, diags *diag.Diagnostics) spec.Service {
	s := spec.Service{
		ID: m.ID.ValueString(), State: spec.Enabled, Commissioning: m.Commissioning.ValueString(), CommissioningFile: m.ID.ValueString() + ".yml",
		Parameters: map[string]any{}, SecretLabel: m.ParametersWOVersion.ValueString(),
	}
	if !m.Enabled.IsNull() && !m.Enabled.ValueBool() {
		s.State = spec.Disabled
	}
	given, err := parameterValues(ctx, "parameters", m.Parameters)
	if err != nil {
		addError(diags, "Cannot read the parameters of "+m.object(), err)
	}
	maps.Copy(s.Parameters, given)
	if !m.writesSecrets(was) {
		return s
	}
	s.SecretParameters = map[string]any{}
	secret, err := parameterValues(ctx, "parameters_wo", m.ParametersWO)
	if err != nil {
		addError(diags, "Cannot read the parameters of "+m.object(), err)
	}
	maps.Copy(s.SecretParameters, secret)
	return s
}

// writesSecrets reports whether the secret parameters are others than before.
func (m *serviceModel) writesSecrets(was *serviceModel) bool {
	if was == nil {
		return !m.ParametersWOVersion.IsNull()
	}
	return !was.ParametersWOVersion.Equal(m.ParametersWOVersion)
}

func (m *serviceModel) sameObject(other *serviceModel) bool {
	return m.ID.Equal(other.ID) && m.Context.Equal(other.Context)
}

// same reports whether both ask for the same, whatever the server says.
func (m *serviceModel) same(ctx context.Context, other *serviceModel) bool {
	return other != nil && m.sameObject(other) && m.Enabled.Equal(other.Enabled) && m.ParametersWOVersion.Equal(other.ParametersWOVersion) &&
		sameDynamic(ctx, m.Parameters, other.Parameters) && m.Commissioning.same(other.Commissioning)
}

func sameDynamic(ctx context.Context, a, b types.Dynamic) bool {
	if a.Equal(b) {
		return true
	}
	x, errX := parameterValues(ctx, "parameters", a)
	y, errY := parameterValues(ctx, "parameters", b)
	return errX == nil && errY == nil && (x == nil) == (y == nil) && sameValue(x, y)
}

// take puts what the server makes of the service into the state.
func (m *serviceModel) take(o spec.ServiceOutline) {
	resources := map[string]attr.Value{}
	for _, r := range o.Resources {
		resources[r.ID] = types.ObjectValueMust(outlineType.AttrTypes, map[string]attr.Value{
			"type": types.StringValue(r.Type), "topic": textOrNull(r.Topic), "digest": types.StringValue(r.Digest),
		})
	}
	links := make([]attr.Value, 0, len(o.Links))
	for _, l := range o.Links {
		links = append(links, types.ObjectValueMust(linkType.AttrTypes, map[string]attr.Value{"name": types.StringValue(l.Name), "href": types.StringValue(l.Href)}))
	}
	m.Digest, m.Topics = types.StringValue(o.Digest), textSet(o.Topics)
	m.Resources, m.Links = types.MapValueMust(outlineType, resources), types.ListValueMust(linkType, links)
}

// takeUnknown fills in what a plan left open, and leaves what it promised.
func (m *serviceModel) takeUnknown(o spec.ServiceOutline) {
	var read serviceModel
	read.take(o)
	if m.Digest.IsUnknown() {
		m.Digest = read.Digest
	}
	if m.Resources.IsUnknown() {
		m.Resources = read.Resources
	}
	if m.Topics.IsUnknown() {
		m.Topics = read.Topics
	}
	if m.Links.IsUnknown() {
		m.Links = read.Links
	}
}

// keepComputed takes over what the server made of the service before.
func (m *serviceModel) keepComputed(was *serviceModel) {
	m.State, m.Digest, m.Resources, m.Topics, m.Links = was.State, was.Digest, was.Resources, was.Topics, was.Links
}

// openComputed leaves it to the apply.
func (m *serviceModel) openComputed() {
	m.State, m.Digest, m.Resources = types.StringUnknown(), types.StringUnknown(), types.MapUnknown(outlineType)
	m.Topics, m.Links = types.SetUnknown(types.StringType), types.ListUnknown(linkType)
}

// takeSource reads the file and the parameters back. Of parameters, what the state declares is
// followed; an import takes all that are given. Secrets are not among them.
func (m *serviceModel) takeSource(ctx context.Context, v spec.ServiceView, o spec.ServiceOutline, imported bool) error {
	if text := newCommissioningText(v.Commissioning); !text.same(m.Commissioning) {
		m.Commissioning = text
	}
	declared, err := parameterValues(ctx, "parameters", m.Parameters)
	if err != nil {
		return err
	}
	found := map[string]any{}
	for _, name := range o.Given {
		_, follows := declared[name]
		if value := v.Parameters[name]; (follows || imported) && value != any(sensitiveText) && !slices.Contains(v.SecretParameters, name) {
			found[name] = value
		}
	}
	if sameValue(found, orEmpty(declared)) {
		return nil
	}
	m.Parameters, err = dynamicValue(found)
	return err
}

// noParameters is an empty object of parameters.
func noParameters() types.Dynamic {
	return types.DynamicValue(types.ObjectValueMust(map[string]attr.Type{}, map[string]attr.Value{}))
}

// sensitiveText is what the server shows in place of a secret.
const sensitiveText = "(sensitive)"

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// seen is what a resource remembers of the service that was last read or written.
type seen struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"`
	// Drifted: somebody else changed it since, perhaps in what the state does not hold.
	Drifted bool `json:"drifted"`
}

func seenOf(v spec.ServiceView) seen { return seen{Revision: v.Revision, At: v.UpdatedAt} }

func (s seen) current(v spec.ServiceView) bool {
	return s.Revision == v.Revision && s.At.Equal(v.UpdatedAt)
}
