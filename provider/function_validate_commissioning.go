package provider

import (
	"cmp"
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/spec"
)

type validateCommissioningFunction struct{}

var findingType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"severity": types.StringType, "code": types.StringType, "message": types.StringType, "hint": types.StringType,
	"line": types.Int64Type, "column": types.Int64Type,
}}

// Metadata implements function.Function.
func (validateCommissioningFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "validate_commissioning"
}

// Definition implements function.Function.
func (validateCommissioningFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Find what is wrong with a commissioning file",
		MarkdownDescription: "Lists what is wrong with a commissioning file, for preconditions and tests: `severity` (`error` or `warning`), `code`, `message`, `hint`, `line`, `column`. " +
			"No instance is asked; parameters need no values.",
		Parameters: []function.Parameter{function.StringParameter{Name: "text", MarkdownDescription: "Text of the file."}},
		Return:     function.ListReturn{ElementType: findingType},
	}
}

// Run implements function.Function.
func (validateCommissioningFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var text string
	if resp.Error = req.Arguments.Get(ctx, &text); resp.Error != nil {
		return
	}
	file, found := commissioning.Parse("", []byte(text))
	if file != nil {
		id := cmp.Or(file.DefaultID, "service") // which id it gets is said where it is installed
		_, more := file.Evaluate(commissioning.Input{ID: id, AllowMissing: true, CheckExpression: compiles})
		found = append(found, more...)
	}
	spec.SortDiagnostics(found)
	findings := make([]attr.Value, 0, len(found))
	for _, d := range found {
		findings = append(findings, types.ObjectValueMust(findingType.AttrTypes, map[string]attr.Value{
			"severity": types.StringValue(string(d.Severity)), "code": types.StringValue(d.Code), "message": types.StringValue(d.Message),
			"hint": types.StringValue(d.Hint), "line": types.Int64Value(int64(d.Line)), "column": types.Int64Value(int64(d.Column)),
		}))
	}
	resp.Error = resp.Result.Set(ctx, types.ListValueMust(findingType, findings))
}

func compiles(expression string) error {
	_, err := expr.Compile(expression)
	return err
}
