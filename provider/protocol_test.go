package provider_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func server(t *testing.T) tfprotov6.ProviderServer {
	t.Helper()
	s, err := factories("test")["millwright"]()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func checkDiagnostics(t *testing.T, diagnostics []*tfprotov6.Diagnostic) {
	t.Helper()
	for _, d := range diagnostics {
		t.Errorf("%s: %s: %s", d.Severity, d.Summary, d.Detail)
	}
}

// Everything that users see is described, and every resource has an identity.
func TestSchemas(t *testing.T) {
	s := server(t)
	schemas, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	checkDiagnostics(t, schemas.Diagnostics)
	identities, err := s.GetResourceIdentitySchemas(t.Context(), &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		t.Fatal(err)
	}
	checkDiagnostics(t, identities.Diagnostics)
	described := func(name string, schema *tfprotov6.Schema) {
		if schema.Block.Description == "" {
			t.Errorf("%s is not described", name)
		}
		for _, a := range schema.Block.Attributes {
			if !strings.HasSuffix(a.Description, ".") {
				t.Errorf("%s.%s is described as %q", name, a.Name, a.Description)
			}
		}
	}
	described("provider", schemas.Provider)
	for name, schema := range schemas.ResourceSchemas {
		described(name, schema)
		identity := identities.IdentitySchemas[name]
		if identity == nil || len(identity.IdentityAttributes) != 2 {
			t.Errorf("identity of %s is %+v", name, identity)
		}
		if schemas.DataSourceSchemas[name] == nil {
			t.Errorf("%s has no data source", name)
		}
	}
	for name, schema := range schemas.DataSourceSchemas {
		described("data "+name, schema)
	}
	for name, schema := range schemas.EphemeralResourceSchemas {
		described("ephemeral "+name, schema)
	}
	for name, f := range schemas.Functions {
		if f.Summary == "" || f.Description == "" {
			t.Errorf("function %s is not described", name)
		}
	}
}

// An import says which object it is, by its id or by its identity.
func TestIdentity(t *testing.T) {
	s := server(t)
	identity := tftypes.Object{AttributeTypes: map[string]tftypes.Type{"context": tftypes.String, "id": tftypes.String}}
	given, err := tfprotov6.NewDynamicValue(identity, tftypes.NewValue(identity, map[string]tftypes.Value{
		"context": tftypes.NewValue(tftypes.String, "plant"), "id": tftypes.NewValue(tftypes.String, "press"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*tfprotov6.ImportResourceStateRequest{
		"id":       {TypeName: "millwright_service", ID: "plant/press"},
		"identity": {TypeName: "millwright_service", Identity: &tfprotov6.ResourceIdentityData{IdentityData: &given}},
	} {
		resp, err := s.ImportResourceState(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		checkDiagnostics(t, resp.Diagnostics)
		if len(resp.ImportedResources) != 1 {
			t.Fatalf("by %s: %d resources", name, len(resp.ImportedResources))
		}
		got, err := resp.ImportedResources[0].Identity.IdentityData.Unmarshal(identity)
		if err != nil {
			t.Fatal(err)
		}
		if want := `tftypes.Object["context":tftypes.String, "id":tftypes.String]<"context":tftypes.String<"plant">, "id":tftypes.String<"press">>`; got.String() != want {
			t.Errorf("by %s: %s", name, got)
		}
	}
}
