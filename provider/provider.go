package provider

import (
	"context"
	"os"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// Address is the provider's in the registry.
const Address = "registry.terraform.io/millwright/millwright"

const typeName = "millwright"

// Provider is the provider of one process. Terraform may configure it several times, once for
// each of its walks.
type Provider struct {
	version string
	getenv  func(string) string

	mu    sync.Mutex // guards walks
	walks []*plants
}

var (
	_ provider.ProviderWithFunctions          = (*Provider)(nil)
	_ provider.ProviderWithEphemeralResources = (*Provider)(nil)
)

// New makes a provider that says the version to the instances it speaks to.
func New(version string) *Provider { return &Provider{version: version, getenv: os.Getenv} }

// Close ends the sessions that passwords began; tokens that were given stay valid.
func (p *Provider) Close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, walk := range p.walks {
		walk.close(ctx)
	}
	p.walks = nil
}

// Metadata implements provider.Provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = typeName, p.version
}

// Schema implements provider.Provider.
func (p *Provider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = settingsSchema()
}

// Configure implements provider.Provider. Nothing is sent: what an instance does not need is
// not asked, and settings that are known only after an apply are no mistake.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var s settings
	resp.Diagnostics.Append(req.Config.Get(ctx, &s)...)
	if resp.Diagnostics.HasError() {
		return
	}
	walk, diags := newPlants(ctx, s, p.version, p.getenv)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	p.mu.Lock()
	p.walks = append(p.walks, walk)
	p.mu.Unlock()
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = walk, walk, walk
}

// Resources implements provider.Provider.
func (p *Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &instanceResource{} },
		func() resource.Resource { return &serviceResource{} },
		func() resource.Resource { return &userResource{} },
		func() resource.Resource { return &roleResource{} },
	}
}

// DataSources implements provider.Provider.
func (p *Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &instanceData{} },
		func() datasource.DataSource { return &serviceData{} },
		func() datasource.DataSource { return &servicesData{} },
		func() datasource.DataSource { return &userData{} },
		func() datasource.DataSource { return &roleData{} },
	}
}

// EphemeralResources implements provider.ProviderWithEphemeralResources.
func (p *Provider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{
		func() ephemeral.EphemeralResource { return &tokenEphemeral{} },
	}
}

// Functions implements provider.ProviderWithFunctions.
func (p *Provider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{
		func() function.Function { return commissioningFunction{} },
		func() function.Function { return parseCommissioningFunction{} },
		func() function.Function { return topicMatchesFunction{} },
		func() function.Function { return validateCommissioningFunction{} },
	}
}
