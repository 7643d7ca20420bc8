package provider

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// broken has a fault in each call that a resource makes.
type broken struct {
	tfprotov6.ProviderServer
	fault func()
}

func (b broken) ApplyResourceChange(context.Context, *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	b.fault()
	return nil, errors.New("there was no fault")
}

// A panic is a diagnostic with its place, and tells nothing of what was thrown. The state of the
// object stays.
func TestGuard(t *testing.T) {
	prior := &tfprotov6.DynamicValue{MsgPack: []byte{0x80}}
	req := &tfprotov6.ApplyResourceChangeRequest{TypeName: "millwright_user", PriorState: prior, PlannedPrivate: []byte("private")}
	var none map[string]string
	for name, test := range map[string]struct {
		fault func()
		want  string
	}{
		"a text":  {func() { panic("the-planted-password") }, "a panic of type string"},
		"a nil":   {func() { none["the-planted-password"] = "x" }, "ssignment to entry in nil map"},
		"a value": {func() { panic(errors.New("the-planted-password")) }, "a panic of type *errors.errorString"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := guard{broken{fault: test.fault}}.ApplyResourceChange(t.Context(), req)
			if err != nil || resp.NewState != prior || string(resp.Private) != "private" || len(resp.Diagnostics) != 1 {
				t.Fatalf("%+v, %v", resp, err)
			}
			d := resp.Diagnostics[0]
			text := d.Summary + d.Detail
			if d.Severity != tfprotov6.DiagnosticSeverityError || !strings.Contains(text, "millwright_user") || !strings.Contains(strings.ToLower(text), strings.ToLower(test.want)) || !strings.Contains(text, "guard_test.go:") {
				t.Errorf("%s: %s", d.Summary, d.Detail)
			}
			if strings.Contains(text, "planted") {
				t.Errorf("the secret is told: %s", text)
			}
		})
	}
}
