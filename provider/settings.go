package provider

import (
	"cmp"
	"context"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// settings is the provider block.
type settings struct {
	URL              types.String `tfsdk:"url"`
	Username         types.String `tfsdk:"username"`
	Password         types.String `tfsdk:"password"`
	Token            types.String `tfsdk:"token"`
	CACert           types.String `tfsdk:"ca_cert"`
	CAPath           types.String `tfsdk:"ca_path"`
	Insecure         types.Bool   `tfsdk:"insecure"`
	Context          types.String `tfsdk:"context"`
	DockerHost       types.String `tfsdk:"docker_host"`
	Contexts         types.Map    `tfsdk:"contexts"`
	OnUnreachable    types.String `tfsdk:"on_unreachable"`
	CheckPermissions types.Bool   `tfsdk:"check_permissions"`
}

// contextSettings is one entry of contexts.
type contextSettings struct {
	URL    types.String `tfsdk:"url"`
	Token  types.String `tfsdk:"token"`
	CACert types.String `tfsdk:"ca_cert"`
}

// The choices of on_unreachable.
const (
	unreachableError = "error"
	unreachableKeep  = "keep"
)

func settingsSchema() schema.Schema {
	return schema.Schema{
		MarkdownDescription: "Industrial gateways as code: services, users and roles of Millwright instances, and the instances themselves.\n\n" +
			"Which instance is meant, and how to log in there, is found in this order: the resource's `context`, this block, the environment, " +
			"the context file that `millwright login` and `millwright_instance` write, else `https://localhost`.",
		Attributes: map[string]schema.Attribute{
			"url":      schema.StringAttribute{Optional: true, MarkdownDescription: "Address of the instance, such as `https://gateway.example`. Else `MILLWRIGHT_URL`."},
			"username": schema.StringAttribute{Optional: true, MarkdownDescription: "User to log in as, with `password`. Else `MILLWRIGHT_USERNAME`."},
			"password": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Password to log in with. Else `MILLWRIGHT_PASSWORD`. The session ends with the run."},
			"token":    schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Token to send. Else `MILLWRIGHT_TOKEN`, else that of the context file."},
			"ca_cert":  schema.StringAttribute{Optional: true, MarkdownDescription: "Certificate authority of the instance, PEM. Else `MILLWRIGHT_CA_CERT`."},
			"ca_path":  schema.StringAttribute{Optional: true, MarkdownDescription: "File with the certificate authority of the instance, PEM. Else `MILLWRIGHT_CA_PATH`."},
			"insecure": schema.BoolAttribute{Optional: true, MarkdownDescription: "Take any certificate for the instance's; for tests only. Else `MILLWRIGHT_INSECURE`."},
			"context":  schema.StringAttribute{Optional: true, MarkdownDescription: "The context of resources that name none: one of `contexts`, or of the context file. Else `MILLWRIGHT_CONTEXT`."},
			"docker_host": schema.StringAttribute{
				Optional: true, MarkdownDescription: "The Docker engine of `millwright_instance`, such as `ssh://user@host`. Else `DOCKER_HOST`, else this machine's.",
			},
			"contexts": schema.MapNestedAttribute{
				Optional: true, MarkdownDescription: "Instances by name, for resources that give the name as their `context`: many plants in one `for_each`, without an alias each.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"url":     schema.StringAttribute{Required: true, MarkdownDescription: "Address of the instance."},
					"token":   schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Token to send. Else this block's `username` and `password`, else the context file's token for this address."},
					"ca_cert": schema.StringAttribute{Optional: true, MarkdownDescription: "Certificate authority of the instance, PEM."},
				}},
			},
			"on_unreachable": schema.StringAttribute{
				Optional: true, Validators: []validator.String{oneOf(unreachableError, unreachableKeep)},
				MarkdownDescription: "What a plan does about an instance that does not answer: `error` (default), or `keep` what the state says of it, with a warning. Else `MILLWRIGHT_ON_UNREACHABLE`.",
			},
			"check_permissions": schema.BoolAttribute{
				Optional: true, MarkdownDescription: "Whether a plan fails where its apply would be refused: for want of a permission, or since the instance cannot run what a file declares. True if not given; false is for pipelines that plan with a token that may only read. Else `MILLWRIGHT_CHECK_PERMISSIONS`.",
			},
		},
	}
}

// fromEnvironment fills in what the block leaves out and client.Resolve does not know.
func (s *settings) fromEnvironment(getenv func(string) string) error {
	if pem := getenv("MILLWRIGHT_CA_CERT"); pem != "" && s.CACert.IsNull() && s.CAPath.IsNull() {
		s.CACert = types.StringValue(pem)
	}
	for name, value := range map[string]*types.Bool{"MILLWRIGHT_INSECURE": &s.Insecure, "MILLWRIGHT_CHECK_PERMISSIONS": &s.CheckPermissions} {
		text := getenv(name)
		if text == "" || !value.IsNull() {
			continue
		}
		given, err := strconv.ParseBool(text)
		if err != nil {
			return spec.Errorf(spec.Invalid, "cannot use %s=%q: it is true or false", name, text)
		}
		*value = types.BoolValue(given)
	}
	if s.OnUnreachable.IsNull() {
		s.OnUnreachable = types.StringValue(cmp.Or(getenv("MILLWRIGHT_ON_UNREACHABLE"), unreachableError))
	}
	if choice := s.OnUnreachable.ValueString(); !s.OnUnreachable.IsUnknown() && choice != unreachableError && choice != unreachableKeep {
		return spec.Errorf(spec.Invalid, "cannot use MILLWRIGHT_ON_UNREACHABLE=%q: it is %s or %s", choice, unreachableError, unreachableKeep)
	}
	return nil
}

// reached is how an instance is reached. It is not known where the block holds what only an
// apply will tell.
type reached struct {
	client.Settings
	known    bool
	warnings []string
}

// resolve finds how the instance of a context is reached; an empty name is the block's own.
func (s *settings) resolve(ctx context.Context, name string, getenv func(string) string) (reached, error) {
	if name != "" {
		return s.named(ctx, name, getenv)
	}
	if s.Context.IsUnknown() {
		return reached{}, nil
	}
	if name = s.Context.ValueString(); name == "" && s.URL.IsNull() {
		name = getenv("MILLWRIGHT_CONTEXT")
	}
	if _, listed := s.Contexts.Elements()[name]; name != "" && (listed || s.Contexts.IsUnknown()) {
		return s.named(ctx, name, getenv)
	}
	if anyUnknown(s.URL, s.Token, s.Username, s.Password, s.CACert, s.CAPath, s.Insecure) {
		return reached{}, nil
	}
	return s.reach(client.Given{
		Context: s.Context.ValueString(), URL: s.URL.ValueString(), Token: s.Token.ValueString(),
		Username: s.Username.ValueString(), Password: s.Password.ValueString(), CAPath: s.CAPath.ValueString(),
		Unattended: true,
	}, getenv, s.CACert)
}

// named is how the instance of an entry of contexts, else of the context file, is reached. No
// token but its own, and nothing of the environment's, travels there.
func (s *settings) named(ctx context.Context, name string, getenv func(string) string) (reached, error) {
	if anyUnknown(s.Contexts, s.Insecure) {
		return reached{}, nil
	}
	value, listed := s.Contexts.Elements()[name]
	if !listed {
		return s.reach(client.Given{Context: name}, fileOnly(getenv), types.StringNull())
	}
	var entry contextSettings
	object, isObject := value.(types.Object)
	if !isObject || object.IsUnknown() {
		return reached{}, nil
	}
	if diags := object.As(ctx, &entry, basetypes.ObjectAsOptions{}); diags.HasError() {
		return reached{}, spec.Errorf(spec.Invalid, "cannot read context %q of the provider block: %s", name, diags.Errors()[0].Detail())
	}
	if anyUnknown(entry.URL, entry.Token, entry.CACert) || entry.Token.IsNull() && anyUnknown(s.Username, s.Password) {
		return reached{}, nil
	}
	given := client.Given{URL: entry.URL.ValueString(), Token: entry.Token.ValueString()}
	if given.Token == "" {
		given.Username, given.Password = s.Username.ValueString(), s.Password.ValueString()
	}
	return s.reach(given, fileOnly(getenv), entry.CACert)
}

func (s *settings) reach(given client.Given, getenv func(string) string, authority types.String) (reached, error) {
	found, warnings, err := client.Resolve(given, getenv)
	if pem := authority.ValueString(); pem != "" {
		found.CA = []byte(pem)
	}
	found.SkipVerify = s.Insecure.ValueBool()
	return reached{Settings: found, known: true, warnings: warnings}, err
}

// fileOnly leaves of the environment only what says where the context file is.
func fileOnly(getenv func(string) string) func(string) string {
	return func(name string) string {
		if name == "MILLWRIGHT_CONFIG" || name == "XDG_CONFIG_HOME" {
			return getenv(name)
		}
		return ""
	}
}

func anyUnknown(values ...attr.Value) bool {
	for _, v := range values {
		if v.IsUnknown() {
			return true
		}
	}
	return false
}
