package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// instanceModel is an instance as Terraform has it. The context of how is told by it, and not
// asked of it.
type instanceModel struct {
	how
	Name       types.String `tfsdk:"name"`
	DockerHost types.String `tfsdk:"docker_host"`
	Running    types.Bool   `tfsdk:"running"`
	instanceOptions

	AdminPasswordWO        types.String `tfsdk:"admin_password_wo"`
	AdminPasswordWOVersion types.String `tfsdk:"admin_password_wo_version"`
	PrivateKeyWO           types.String `tfsdk:"private_key_wo"`
	RegistryPasswordWO     types.String `tfsdk:"registry_password_wo"`

	// For one pass alone.
	ImageArchive   types.String `tfsdk:"image_archive"`
	AllowDowngrade types.Bool   `tfsdk:"allow_downgrade"`
	Wait           types.Bool   `tfsdk:"wait"`
	WaitTimeout    types.Int64  `tfsdk:"wait_timeout"`
	DeleteVolumes  types.Bool   `tfsdk:"delete_volumes_on_destroy"`

	URL    types.String `tfsdk:"url"`
	CACert types.String `tfsdk:"ca_cert"`
	Drift  types.List   `tfsdk:"drift"`
}

func (m *instanceModel) object() string { return fmt.Sprintf("instance %q", m.name()) }

// name is the instance's; a configuration may leave it to its default.
func (m *instanceModel) name() string {
	if m.Name.ValueString() == "" {
		return spec.DefaultInstance
	}
	return m.Name.ValueString()
}

// The times that operations have where timeouts does not say.
const (
	instanceTimeout   = 20 * time.Minute
	instanceReadTimes = time.Minute
)

func (m *instanceModel) timeout(operation string) time.Duration {
	text, _ := m.Timeouts.Attributes()[operation].(types.String)
	if d, err := time.ParseDuration(text.ValueString()); err == nil { // its validator has seen it
		return d
	}
	if operation == onRead {
		return instanceReadTimes
	}
	return instanceTimeout
}

func defaultText(operation string) string {
	if operation == onRead {
		return "One minute"
	}
	return "20 minutes"
}

// within bounds an operation.
func (m *instanceModel) within(ctx context.Context, operation string) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, m.timeout(operation))
}

// instanceSecrets are what no state holds. What is null is not given.
type instanceSecrets struct{ adminPassword, privateKey, registryPassword types.String }

// secretsOf are the secrets of a configuration.
func secretsOf(config *instanceModel) instanceSecrets {
	return instanceSecrets{config.AdminPasswordWO, config.PrivateKeyWO, config.RegistryPasswordWO}
}

// declared reports whether everything that is planned with is known, secrets aside.
func (m *instanceModel) declared(ctx context.Context, diags *diag.Diagnostics) bool {
	values := []attr.Value{m.Name, m.DockerHost, m.Running, m.ImageArchive, m.AllowDowngrade, m.Wait, m.WaitTimeout, m.AdminPasswordWOVersion}
	for _, o := range allOptions() {
		values = append(values, o.get(&m.instanceOptions))
	}
	return known(ctx, diags, values...)
}

// given is the instance that is asked for, its state aside. Options that are not known are
// taken from below. A certificate that is that of the state needs no key.
func (m *instanceModel) given(ctx context.Context, secrets instanceSecrets, was *instanceModel) (spec.Instance, error) {
	tree := map[string]any{}
	for _, o := range allOptions() {
		value, err := optionText(ctx, o.get(&m.instanceOptions))
		if err != nil {
			return spec.Instance{}, err
		}
		if value != nil && value != "" {
			tree[o.name] = value
		}
	}
	// A digest is the version of an image that has one, and no tag to ask for.
	if strings.Contains(asString(tree[optionVersion]), ":") {
		delete(tree, optionVersion)
	}
	if tree[optionCertificate] != nil && secrets.privateKey.ValueString() == "" && was != nil && sameOption(ctx, optionCertificate, m.Certificate, was.Certificate) {
		delete(tree, optionCertificate)
	}
	if registry, ok := tree[optionRegistry].(map[string]any); ok {
		if secrets.registryPassword.IsUnknown() {
			delete(registry, "username")
		} else if password := secrets.registryPassword.ValueString(); password != "" {
			registry["password"] = password
		}
	}
	if tree[optionCertificate] != nil && !secrets.privateKey.IsNull() {
		tree["private_key"] = secrets.privateKey.ValueString()
	}
	if password := secrets.adminPassword.ValueString(); password != "" {
		tree["admin_password"] = password
	}
	i, err := spec.DecodeInstance(tree)
	if err != nil {
		return i, err
	}
	i.Name, i.AllowDowngrade, i.ImageArchive = m.name(), m.AllowDowngrade.ValueBool(), m.ImageArchive.ValueString()
	i.WaitTimeout = int(m.WaitTimeout.ValueInt64())
	if !m.Wait.IsNull() && !m.Wait.IsUnknown() {
		wait := m.Wait.ValueBool()
		i.Wait = &wait
	}
	return i, i.Check()
}

// writesPassword reports whether the admin's password is another than before.
func (m *instanceModel) writesPassword(was *instanceModel) bool {
	version := m.AdminPasswordWOVersion.ValueString()
	return version != "" && (was == nil || version != was.AdminPasswordWOVersion.ValueString())
}

// read takes over what was last applied. What the state says in other words stays, and of limits
// what it does not name is nobody's business, unless an import asks for everything.
func (m *instanceModel) read(ctx context.Context, now instanceOptions) {
	for _, o := range allOptions() {
		state, live := o.get(&m.instanceOptions), o.get(&now)
		if o.name == optionRegistry {
			live = withUser(m.Registry, now.Registry)
		}
		if o.name == optionLimits && !m.Limits.IsNull() {
			live = only(m.Limits, now.Limits)
		}
		if state.IsNull() || !sameOption(ctx, o.name, state, live) || !sameOption(ctx, o.name, live, state) {
			o.put(&m.instanceOptions, live)
		}
	}
}

// withUser keeps of a registry what no instance remembers.
func withUser(state, live types.Object) types.Object {
	user, ok := state.Attributes()["username"].(types.String)
	if !ok || user.IsNull() {
		return live
	}
	server, ok := live.Attributes()["server"].(types.String)
	if !ok {
		server = types.StringNull()
	}
	return types.ObjectValueMust(registryType.AttrTypes, map[string]attr.Value{"server": server, "username": user})
}

// only are those of the limits, and of what each bounds, that the state names.
func only(state, live types.Map) types.Map {
	limits := map[string]attr.Value{}
	for part, value := range state.Elements() {
		have, ok := live.Elements()[part].(types.Object)
		named, isObject := value.(types.Object)
		if !ok || !isObject {
			continue
		}
		bounds := have.Attributes()
		for name, bound := range named.Attributes() {
			if bound.IsNull() {
				bounds[name] = bound
			}
		}
		limits[part] = types.ObjectValueMust(limitType.AttrTypes, bounds)
	}
	return types.MapValueMust(limitType, limits)
}

// settle fills in what the instance makes of what the configuration leaves out.
func (m *instanceModel) settleOptions(ctx context.Context, config, was *instanceModel, settled instanceOptions) {
	for _, o := range allOptions() {
		declared, value := o.get(&config.instanceOptions), o.get(&settled)
		if o.name == optionPorts && !declared.IsNull() {
			declared = filled(config.Ports, settled.Ports)
		}
		switch {
		case was != nil && !declared.IsNull() && !o.get(&was.instanceOptions).IsNull() && sameOption(ctx, o.name, declared, o.get(&was.instanceOptions)):
			value = o.get(&was.instanceOptions)
		case !declared.IsNull():
			value = declared
		case was != nil && sameOption(ctx, o.name, o.get(&was.instanceOptions), value) && sameOption(ctx, o.name, value, o.get(&was.instanceOptions)):
			value = o.get(&was.instanceOptions)
		}
		o.put(&m.instanceOptions, value)
	}
}

// filled are the ports that are declared, and those that are not as they are.
func filled(declared, settled types.Object) types.Object {
	ports := settled.Attributes()
	if len(ports) == 0 || declared.IsUnknown() {
		return declared
	}
	for name, port := range declared.Attributes() {
		if !port.IsNull() && !port.IsUnknown() {
			ports[name] = port
		}
	}
	return types.ObjectValueMust(portsType.AttrTypes, ports)
}

// fillUnknown fills in what a plan left open.
func (m *instanceModel) fillUnknown(ctx context.Context, settled instanceOptions, o deployer.Outcome) {
	for _, option := range allOptions() {
		value := option.get(&m.instanceOptions)
		if ports, ok := value.(types.Object); ok && option.name == optionPorts && !value.IsUnknown() && !ports.IsNull() {
			option.put(&m.instanceOptions, filled(ports, settled.Ports))
		} else if t, err := value.ToTerraformValue(ctx); err == nil && !t.IsFullyKnown() {
			option.put(&m.instanceOptions, option.get(&settled))
		}
	}
	for _, text := range []struct {
		to    *types.String
		value string
	}{
		{&m.AdminPasswordWOVersion, ""}, {&m.ImageArchive, ""}, {&m.URL, o.URL}, {&m.CACert, o.CACert}, {&m.Context, o.Context},
	} {
		if text.to.IsUnknown() {
			*text.to = textOrNull(text.value)
		}
	}
	m.Drift = noDrift()
}

func noDrift() types.List { return types.ListValueMust(types.StringType, nil) }

// driftOf says what a plan of what was last applied would mend.
func driftOf(p plan.Plan, instance string) types.List {
	address := plan.InstanceAddress(instance)
	var lines []attr.Value
	for _, s := range p.Steps {
		where := strings.TrimPrefix(strings.TrimPrefix(s.Address, address), "/")
		if where == "" {
			where = "instance"
		}
		lines = append(lines, types.StringValue(where+": "+s.Cause))
	}
	return types.ListValueMust(types.StringType, lines)
}
