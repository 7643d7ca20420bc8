package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// choice accepts some words alone.
type choice []string

func oneOf(words ...string) validator.String { return choice(words) }

// Description implements validator.Describer.
func (c choice) Description(context.Context) string { return "one of " + strings.Join(c, ", ") }

// MarkdownDescription implements validator.Describer.
func (c choice) MarkdownDescription(ctx context.Context) string { return c.Description(ctx) }

// ValidateString implements validator.String.
func (c choice) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() || slices.Contains(c, req.ConfigValue.ValueString()) {
		return
	}
	resp.Diagnostics.AddAttributeError(req.Path, "Wrong value", fmt.Sprintf("%s is %q. It must be %s.", req.Path, req.ConfigValue.ValueString(), c.Description(ctx)))
}

// isDuration accepts positive durations.
type isDuration struct{}

// Description implements validator.Describer.
func (isDuration) Description(context.Context) string {
	return "a duration such as 90s or 5m, from 1s to 1h"
}

// MarkdownDescription implements validator.Describer.
func (d isDuration) MarkdownDescription(ctx context.Context) string { return d.Description(ctx) }

// ValidateString implements validator.String.
func (d isDuration) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if v, err := time.ParseDuration(req.ConfigValue.ValueString()); err != nil || v < time.Second || v > time.Hour {
		resp.Diagnostics.AddAttributeError(req.Path, "Wrong duration", fmt.Sprintf("%s is %q. It must be %s.", req.Path, req.ConfigValue.ValueString(), d.Description(ctx)))
	}
}

// checked accepts what a check of ours does.
type checked struct {
	what  string
	check func(string) error
}

// Description implements validator.Describer.
func (c checked) Description(context.Context) string { return c.what }

// MarkdownDescription implements validator.Describer.
func (c checked) MarkdownDescription(context.Context) string { return c.what }

// ValidateString implements validator.String.
func (c checked) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Wrong value", sentence(err.Error()))
	}
}

// choices accepts sets of some words alone.
type choices struct{ choice }

func setOf(words ...string) validator.Set { return choices{words} }

// ValidateSet implements validator.Set.
func (c choices) ValidateSet(ctx context.Context, req validator.SetRequest, resp *validator.SetResponse) {
	for _, v := range req.ConfigValue.Elements() {
		if text, ok := v.(types.String); ok {
			one := validator.StringResponse{}
			c.ValidateString(ctx, validator.StringRequest{Path: req.Path.AtSetValue(v), ConfigValue: text}, &one)
			resp.Diagnostics.Append(one.Diagnostics...)
		}
	}
}
