package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/spec"
)

// Schema implements resource.Resource.
func (r *instanceResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attributes := withHow(instancePlace())
	for _, more := range []map[string]schema.Attribute{imageAttributes(), networkAttributes(), secretAttributes(), containerAttributes(), passAttributes(), reachAttributes()} {
		for name, a := range more {
			attributes[name] = a
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An instance on a Docker engine: broker, mapper and control, each a container of its own, as an ordinary compose deployment. " +
			"Only what differs is changed, and only the containers concerned are replaced, one by one; the plan says which, and why. " +
			"An option that is not given keeps what was last applied; where nothing was, it is the default. A list or map that is given is complete, but for `ports` and `limits`, where each key stands for itself.",
		Attributes: attributes,
	}
}

// kept is an option that keeps what was last applied where it is not given.
func kept(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, Computed: true, MarkdownDescription: description}
}

func flag(value bool, description string) schema.BoolAttribute {
	return schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(value), MarkdownDescription: description}
}

func part(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: description}
}

func instancePlace() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"name": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString(spec.DefaultInstance),
			PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			Validators:          []validator.String{checked{"an instance's name", spec.CheckInstanceName}},
			MarkdownDescription: "Name of the instance, and of its compose project; `" + spec.DefaultInstance + "` if not given. Several may share an engine, with names and ports of their own. Another one replaces the instance.",
		},
		"docker_host": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Address of the Docker engine, such as `ssh://user@host`, `unix:///run/user/1000/docker.sock` or `tcp://HOST:2376`, the latter with the certificates that `DOCKER_CERT_PATH` names. " +
				"Not given, it is the provider's. Another engine replaces the instance.",
		},
		"running": flag(true, "Whether its containers run. `false` stops them; what the instance holds stays."),
	}
}

func imageAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		optionInstallPath: kept("Folder on this machine that gets two files, `docker-compose.yml` and `.env`. A new instance has `" + deployer.DefaultInstallPath + "`; on an engine elsewhere the files are written only if this is given."),
		optionVersion:     kept("Version to run: the tag of `image`. A new instance gets the provider's own."),
		"allow_downgrade": flag(false, "Allow a `version` older than the one that runs, which may not be able to read the newer one's data."),
		"image":           kept("The image, `[REGISTRY/]NAME[:TAG]`. A new instance has `millwright/millwright`."),
		"image_archive":   kept("The image as a file on this machine, as `millwright image save` and `docker save` write it. It is loaded where the engine lacks the image."),
		"pull": schema.StringAttribute{
			Optional: true, Computed: true, Validators: []validator.String{oneOf(string(spec.PullMissing), string(spec.PullAlways), string(spec.PullNever))},
			MarkdownDescription: "When the image is fetched from its registry: `missing`, where the engine lacks it; `always`, also where the registry has another one under that tag; or `never`. A new instance has `missing`.",
		},
		optionRegistry: schema.SingleNestedAttribute{
			Optional: true, Computed: true, MarkdownDescription: "Where the image is pulled from.",
			Attributes: map[string]schema.Attribute{
				"server":   part("Host of the registry, for an `image` that names none."),
				"username": part("User to log in as, with `registry_password_wo`."),
			},
		},
		"registry_password_wo": schema.StringAttribute{
			Optional: true, WriteOnly: true, MarkdownDescription: "Password of `registry.username`. It is used to pull, and kept nowhere.",
		},
	}
}

func networkAttributes() map[string]schema.Attribute {
	port := func(what string) schema.StringAttribute {
		return kept(what + " `PORT`, `ADDRESS:PORT`, or `\"\"`: closed.")
	}
	return map[string]schema.Attribute{
		"hostname": kept("Further name of the server, in its certificate."),
		optionPorts: schema.SingleNestedAttribute{
			Optional: true, Computed: true, MarkdownDescription: "Where the instance listens on the host. A port that is not named keeps what it has.",
			Attributes: map[string]schema.Attribute{
				spec.PortHTTPS: port("API and page; a new instance has 443."), spec.PortHTTP: port("Redirects to https; a new instance has 80."),
				spec.PortMQTTS: port("MQTT with TLS; a new instance has 8883."), spec.PortMQTT: port("MQTT without TLS; closed unless it is given."),
			},
		},
		"network_mask": kept("Network of the containers, such as `172.30.0.0/24`. Not given, the engine chooses one."),
		"proxy": schema.SingleNestedAttribute{
			Optional: true, Computed: true, MarkdownDescription: "How the instance reaches addresses outside.",
			Attributes: map[string]schema.Attribute{
				"http": part("Proxy for http, `http://HOST:PORT`."), "https": part("Proxy for https."),
				"no_proxy": part("Names and networks that are reached without one, separated by commas."),
			},
		},
		"extra_hosts": schema.MapAttribute{Optional: true, Computed: true, ElementType: types.StringType, MarkdownDescription: "Names that the containers shall know, with their addresses."},
		"dns":         schema.ListAttribute{Optional: true, Computed: true, ElementType: types.StringType, MarkdownDescription: "Addresses of name servers for the containers."},
	}
}

func secretAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"admin_password_wo": schema.StringAttribute{
			Optional: true, WriteOnly: true,
			MarkdownDescription: "Password of the user admin, at least 5 characters. It stands in no state and no plan, and is written, by way of the engine, when `admin_password_wo_version` is another than before. " +
				"Not given, a new instance generates one, and the apply says in which file it is.",
		},
		"admin_password_wo_version": schema.StringAttribute{
			Optional: true, Computed: true, Validators: []validator.String{checked{"a label", func(s string) error { return checkOptionalLabel("admin_password_wo_version", s) }}},
			MarkdownDescription: "Any text that names this version of the password, such as `1`.",
		},
		optionCertificate: kept("Certificate of the server, PEM, with those between it and its authority. A new instance makes its own."),
		"private_key_wo": schema.StringAttribute{
			Optional: true, WriteOnly: true, MarkdownDescription: "Private key of `certificate`, PEM. It stands in no state and no plan, and is written where the certificate or the key is another.",
		},
		"trusted_ca": kept("Certificate authorities, PEM, that the instance trusts beside the public ones."),
	}
}

func checkOptionalLabel(attribute, label string) error {
	if label == "" {
		return nil
	}
	return spec.CheckLabel(attribute, label)
}

func containerAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		optionAgents: schema.SetAttribute{
			Optional: true, Computed: true, ElementType: types.StringType, MarkdownDescription: "Names of further mappers on this engine, each a container of its own.",
		},
		"read_only": schema.BoolAttribute{Optional: true, Computed: true, MarkdownDescription: "Forbid every write to any machine."},
		"env": schema.MapAttribute{
			Optional: true, Computed: true, ElementType: types.StringType, MarkdownDescription: "Variables of the environment of every container. They show in `docker inspect`: no place for secrets.",
		},
		optionDevices: schema.SetAttribute{
			Optional: true, Computed: true, ElementType: types.StringType, MarkdownDescription: "Devices of the host for the mappers, `HOST[:CONTAINER[:rwm]]`, such as `/dev/ttyS0`.",
		},
		"timezone": kept("Time zone, such as `Europe/Berlin`. A new instance has the host's."),
		optionLimits: schema.MapNestedAttribute{
			Optional: true, Computed: true, MarkdownDescription: "Bounds of each part: `control`, `broker`, `mapper`, or an agent's name. They are changed while the container runs; a part that is no longer named keeps its own.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"memory": part("Memory, such as `512m`."),
				"cpus":   schema.Float64Attribute{Optional: true, MarkdownDescription: "Processors, such as `1.5`."},
			}},
		},
	}
}

func passAttributes() map[string]schema.Attribute {
	times := map[string]schema.Attribute{}
	for name := range timeoutTypes {
		times[name] = schema.StringAttribute{
			Optional: true, Validators: []validator.String{isDuration{}},
			MarkdownDescription: "How long to wait on " + name + ", such as `90s` or `5m`. " + defaultText(name) + " if not given.",
		}
	}
	return map[string]schema.Attribute{
		"backup":         schema.BoolAttribute{Optional: true, Computed: true, MarkdownDescription: "Write a backup before an upgrade. A new instance does."},
		optionBackupPath: kept("Folder on this machine for backups. Not given, they lie in a volume. The newest three are kept."),
		"wait":           flag(true, "Wait until every container is healthy. One that does not become so is replaced by the one before it, and the apply fails."),
		"wait_timeout": schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(300), MarkdownDescription: "Seconds to wait for each container.",
		},
		"delete_volumes_on_destroy": flag(false, "Delete what the instance holds, and its backups, when it is destroyed. Else its volumes stay, and an instance of that name finds them again."),
		"timeouts": schema.SingleNestedAttribute{
			Optional: true, Computed: true, Attributes: times, MarkdownDescription: "How long an operation may take as a whole, an image that is pulled and a backup included.",
		},
	}
}

// reachAttributes are what an apply tells.
func reachAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"context": schema.StringAttribute{
			Computed: true, MarkdownDescription: "Name of the instance's context in the context file, which the apply writes: the `context` of everything that is declared on this instance.",
		},
		"url":     schema.StringAttribute{Computed: true, MarkdownDescription: "Address of its API and page."},
		"ca_cert": schema.StringAttribute{Computed: true, MarkdownDescription: "Its certificate authority, PEM."},
		"drift": schema.ListAttribute{
			Computed: true, ElementType: types.StringType,
			MarkdownDescription: "What was changed behind its back, each with its cause, such as `container/broker: is not running: exited (137)`. Where this is not empty, a plan mends it.",
		},
	}
}

// IdentitySchema implements resource.ResourceWithIdentity.
func (r *instanceResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"name":        identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the instance."},
		"docker_host": identityschema.StringAttribute{OptionalForImport: true, Description: "Address of its Docker engine. Not given: the provider's."},
	}}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *instanceResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m instanceModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if (m.AdminPasswordWO.ValueString() == "") != (m.AdminPasswordWOVersion.ValueString() == "") && !anyUnknown(m.AdminPasswordWO, m.AdminPasswordWOVersion) {
		resp.Diagnostics.AddAttributeError(path.Root("admin_password_wo_version"), "Password and version belong together",
			"Give admin_password_wo and admin_password_wo_version, or neither: only another version has a password written.")
	}
	if resp.Diagnostics.HasError() || !m.declared(ctx, &resp.Diagnostics) || !keyKnown(ctx, &m, nil) {
		return
	}
	given, err := m.given(ctx, secretsOf(&m), nil)
	if err == nil {
		err = given.Check()
	}
	if err != nil {
		addError(&resp.Diagnostics, "Wrong options of "+m.object(), inOptions(err))
	}
}
