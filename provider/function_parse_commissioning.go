package provider

import (
	"context"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

type parseCommissioningFunction struct{}

// Metadata implements function.Function.
func (parseCommissioningFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "parse_commissioning"
}

// Definition implements function.Function.
func (parseCommissioningFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary:             "Read a commissioning file",
		MarkdownDescription: "Turns the text of a commissioning file into an object, as it is written: nothing is evaluated, and tags become objects of one key, as `commissioning` takes them.",
		Parameters:          []function.Parameter{function.StringParameter{Name: "text", MarkdownDescription: "Text of the file."}},
		Return:              function.DynamicReturn{},
	}
}

// Run implements function.Function.
func (parseCommissioningFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var text string
	if resp.Error = req.Arguments.Get(ctx, &text); resp.Error != nil {
		return
	}
	tree, found := commissioning.Tree("", []byte(text))
	if tree == nil || spec.HasErrors(found) {
		lines := make([]string, 0, len(found))
		for _, d := range found {
			lines = append(lines, d.String())
		}
		resp.Error = function.NewArgumentFuncError(0, "Cannot read the commissioning file:\n"+strings.Join(lines, "\n"))
		return
	}
	value, err := dynamicValue(tree)
	if err != nil {
		resp.Error = function.NewFuncError(sentence(err.Error()))
		return
	}
	resp.Error = resp.Result.Set(ctx, value)
}
