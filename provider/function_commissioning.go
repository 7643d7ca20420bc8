package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/commissioning"
)

type commissioningFunction struct{}

// Metadata implements function.Function.
func (commissioningFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "commissioning"
}

// Definition implements function.Function.
func (commissioningFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Write a commissioning file",
		MarkdownDescription: "Turns an object into the text of a commissioning file. Tags are objects of one key: `{ \"$ref\" = \"plc\" }` for `!ref plc`, " +
			"`{ \"$sub\" = \"line $${line}\" }` for `!sub`, `{ \"$merge\" = [a, b] }` for `!merge`.",
		Parameters: []function.Parameter{function.DynamicParameter{Name: "object", MarkdownDescription: "The file as an object: `description`, `metadata`, `parameters`, `definitions`, `resources`."}},
		Return:     function.StringReturn{},
	}
}

// Run implements function.Function.
func (commissioningFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var object types.Dynamic
	if resp.Error = req.Arguments.Get(ctx, &object); resp.Error != nil {
		return
	}
	value, err := plainValue(ctx, object.UnderlyingValue())
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err.Error()))
		return
	}
	tree, ok := value.(map[string]any)
	if !ok {
		resp.Error = function.NewArgumentFuncError(0, "A commissioning file is an object.")
		return
	}
	text, err := commissioning.Text(tree)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err.Error()))
		return
	}
	resp.Error = resp.Result.Set(ctx, string(text))
}
