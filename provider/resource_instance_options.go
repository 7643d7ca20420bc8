package provider

import (
	"encoding/json"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/spec"
)

// instanceOptions are what is kept of an instance when it has been applied: the options of the
// Ansible module under the same names. One that is not given keeps what was last applied.
type instanceOptions struct {
	InstallPath types.String `tfsdk:"install_path"`
	Version     types.String `tfsdk:"version"`
	Image       types.String `tfsdk:"image"`
	Pull        types.String `tfsdk:"pull"`
	Registry    types.Object `tfsdk:"registry"`
	Hostname    types.String `tfsdk:"hostname"`
	Ports       types.Object `tfsdk:"ports"`
	NetworkMask types.String `tfsdk:"network_mask"`
	Proxy       types.Object `tfsdk:"proxy"`
	ExtraHosts  types.Map    `tfsdk:"extra_hosts"`
	DNS         types.List   `tfsdk:"dns"`
	Certificate types.String `tfsdk:"certificate"`
	TrustedCA   types.String `tfsdk:"trusted_ca"`
	Agents      types.Set    `tfsdk:"agents"`
	ReadOnly    types.Bool   `tfsdk:"read_only"`
	Env         types.Map    `tfsdk:"env"`
	Devices     types.Set    `tfsdk:"devices"`
	Timezone    types.String `tfsdk:"timezone"`
	Limits      types.Map    `tfsdk:"limits"`
	Backup      types.Bool   `tfsdk:"backup"`
	BackupPath  types.String `tfsdk:"backup_path"`
}

var (
	registryType = types.ObjectType{AttrTypes: map[string]attr.Type{"server": types.StringType, "username": types.StringType}}
	proxyType    = types.ObjectType{AttrTypes: map[string]attr.Type{"http": types.StringType, "https": types.StringType, "no_proxy": types.StringType}}
	limitType    = types.ObjectType{AttrTypes: map[string]attr.Type{"memory": types.StringType, "cpus": types.Float64Type}}
	portsType    = types.ObjectType{AttrTypes: map[string]attr.Type{
		spec.PortHTTPS: types.StringType, spec.PortHTTP: types.StringType, spec.PortMQTTS: types.StringType, spec.PortMQTT: types.StringType,
	}}
)

// The options that are not compared as they are written.
const (
	optionInstallPath = "install_path"
	optionVersion     = "version"
	optionRegistry    = "registry"
	optionPorts       = "ports"
	optionCertificate = "certificate"
	optionAgents      = "agents"
	optionDevices     = "devices"
	optionLimits      = "limits"
	optionBackupPath  = "backup_path"
)

// option is one of them.
type option struct {
	name string
	kind attr.Type
	get  func(*instanceOptions) attr.Value
	put  func(*instanceOptions, attr.Value)
}

func optionOf[V attr.Value](name string, kind attr.Type, field func(*instanceOptions) *V) option {
	return option{
		name: name, kind: kind,
		get: func(o *instanceOptions) attr.Value { return *field(o) },
		put: func(o *instanceOptions, v attr.Value) {
			if typed, ok := v.(V); ok {
				*field(o) = typed
			}
		},
	}
}

// allOptions lists them in the order in which they are documented.
func allOptions() []option {
	texts, text := types.MapType{ElemType: types.StringType}, types.SetType{ElemType: types.StringType}
	return []option{
		optionOf(optionInstallPath, types.StringType, func(o *instanceOptions) *types.String { return &o.InstallPath }),
		optionOf(optionVersion, types.StringType, func(o *instanceOptions) *types.String { return &o.Version }),
		optionOf("image", types.StringType, func(o *instanceOptions) *types.String { return &o.Image }),
		optionOf("pull", types.StringType, func(o *instanceOptions) *types.String { return &o.Pull }),
		optionOf(optionRegistry, registryType, func(o *instanceOptions) *types.Object { return &o.Registry }),
		optionOf("hostname", types.StringType, func(o *instanceOptions) *types.String { return &o.Hostname }),
		optionOf(optionPorts, portsType, func(o *instanceOptions) *types.Object { return &o.Ports }),
		optionOf("network_mask", types.StringType, func(o *instanceOptions) *types.String { return &o.NetworkMask }),
		optionOf("proxy", proxyType, func(o *instanceOptions) *types.Object { return &o.Proxy }),
		optionOf("extra_hosts", texts, func(o *instanceOptions) *types.Map { return &o.ExtraHosts }),
		optionOf("dns", types.ListType{ElemType: types.StringType}, func(o *instanceOptions) *types.List { return &o.DNS }),
		optionOf(optionCertificate, types.StringType, func(o *instanceOptions) *types.String { return &o.Certificate }),
		optionOf("trusted_ca", types.StringType, func(o *instanceOptions) *types.String { return &o.TrustedCA }),
		optionOf(optionAgents, text, func(o *instanceOptions) *types.Set { return &o.Agents }),
		optionOf("read_only", types.BoolType, func(o *instanceOptions) *types.Bool { return &o.ReadOnly }),
		optionOf("env", texts, func(o *instanceOptions) *types.Map { return &o.Env }),
		optionOf(optionDevices, text, func(o *instanceOptions) *types.Set { return &o.Devices }),
		optionOf("timezone", types.StringType, func(o *instanceOptions) *types.String { return &o.Timezone }),
		optionOf(optionLimits, types.MapType{ElemType: limitType}, func(o *instanceOptions) *types.Map { return &o.Limits }),
		optionOf("backup", types.BoolType, func(o *instanceOptions) *types.Bool { return &o.Backup }),
		optionOf(optionBackupPath, types.StringType, func(o *instanceOptions) *types.String { return &o.BackupPath }),
	}
}

// optionsOf are the options of an instance that has been settled, as the state holds them.
func optionsOf(i spec.Instance) (instanceOptions, error) {
	var o instanceOptions
	text, err := json.Marshal(i.Applied())
	if err != nil {
		return o, spec.Errorf(spec.Internal, "cannot read the options of instance %q: %w", i.Name, err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(text, &tree); err != nil {
		return o, spec.Errorf(spec.Internal, "cannot read the options of instance %q: %w", i.Name, err)
	}
	for _, option := range allOptions() {
		value, err := typedValue(option.kind, tree[option.name])
		if err != nil {
			return o, err
		}
		option.put(&o, value)
	}
	return o, nil
}

// noOptions has them all not given.
func noOptions() (instanceOptions, error) { return optionsOf(spec.Instance{}) }

// typedValue turns what JSON decodes to into a value of the type; nil is null.
func typedValue(t attr.Type, v any) (attr.Value, error) {
	switch kind := t.(type) {
	case types.ListType, types.SetType:
		return typedItems(kind, v)
	case types.MapType:
		fields, ok := v.(map[string]any)
		if !ok {
			return types.MapNull(kind.ElemType), nil
		}
		elements, err := typedFields(fields, func(string) attr.Type { return kind.ElemType })
		return types.MapValueMust(kind.ElemType, elements), err
	case types.ObjectType:
		fields, ok := v.(map[string]any)
		if !ok {
			return types.ObjectNull(kind.AttrTypes), nil
		}
		all := map[string]any{}
		for name := range kind.AttrTypes {
			all[name] = fields[name]
		}
		elements, err := typedFields(all, func(name string) attr.Type { return kind.AttrTypes[name] })
		if err != nil {
			return nil, err
		}
		return types.ObjectValueMust(kind.AttrTypes, elements), nil
	}
	return typedLeaf(t, v)
}

func typedFields(fields map[string]any, kind func(name string) attr.Type) (map[string]attr.Value, error) {
	elements := map[string]attr.Value{}
	for name, field := range fields {
		value, err := typedValue(kind(name), field)
		if err != nil {
			return nil, err
		}
		elements[name] = value
	}
	return elements, nil
}

// typedItems makes lists and sets of texts.
func typedItems(t attr.Type, v any) (attr.Value, error) {
	items, ok := v.([]any)
	values := make([]attr.Value, len(items))
	for i, item := range items {
		values[i] = types.StringValue(asString(item))
	}
	_, isSet := t.(types.SetType)
	switch {
	case isSet && !ok:
		return types.SetNull(types.StringType), nil
	case isSet:
		return types.SetValueMust(types.StringType, unique(values)), nil
	case !ok:
		return types.ListNull(types.StringType), nil
	}
	return types.ListValueMust(types.StringType, values), nil
}

func typedLeaf(t attr.Type, v any) (attr.Value, error) {
	switch t {
	case types.StringType:
		if text, ok := v.(string); ok {
			return types.StringValue(text), nil
		}
		return types.StringNull(), nil
	case types.BoolType:
		if b, ok := v.(bool); ok {
			return types.BoolValue(b), nil
		}
		return types.BoolNull(), nil
	case types.Float64Type:
		if n, ok := v.(float64); ok {
			return types.Float64Value(n), nil
		}
		return types.Float64Null(), nil
	}
	return nil, spec.Errorf(spec.Internal, "cannot hand on %T to Terraform", v)
}
