package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/millwright/millwright/internal/spec"
)

type topicMatchesFunction struct{}

// Metadata implements function.Function.
func (topicMatchesFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "topic_matches"
}

// Definition implements function.Function.
func (topicMatchesFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary:             "Tell whether a topic filter matches a topic",
		MarkdownDescription: "Tells whether an MQTT topic filter, with its wildcards `+` and `#`, matches a topic.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "filter", MarkdownDescription: "The filter, such as `plant/+/temp`."},
			function.StringParameter{Name: "topic", MarkdownDescription: "The topic, such as `plant/press/temp`."},
		},
		Return: function.BoolReturn{},
	}
}

// Run implements function.Function.
func (topicMatchesFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var filter, topic string
	if resp.Error = req.Arguments.Get(ctx, &filter, &topic); resp.Error != nil {
		return
	}
	if err := spec.CheckFilter(filter); err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err.Error()))
		return
	}
	if err := spec.CheckTopic(topic); err != nil {
		resp.Error = function.NewArgumentFuncError(1, sentence(err.Error()))
		return
	}
	resp.Error = resp.Result.Set(ctx, spec.TopicMatches(filter, topic))
}
