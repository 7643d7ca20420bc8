package provider

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// Server serves the provider. A panic ends the one call that it happened in: Terraform would
// else lose the whole process, and with it what became of all other objects of the same apply.
func Server(p *Provider) func() tfprotov6.ProviderServer {
	return func() tfprotov6.ProviderServer { return guard{providerserver.NewProtocol6(p)()} }
}

type guard struct{ tfprotov6.ProviderServer }

// guarded makes a call, and tells a panic by fail.
func guarded[Request, Response any](ctx context.Context, req Request, call func(context.Context, Request) (Response, error), fail func(text string) Response) (resp Response, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			resp, err = fail(describeFault(fault)), nil
		}
	}()
	return call(ctx, req)
}

// maxFrames bounds what is said of where a fault is.
const maxFrames = 64

// describeFault says what happened and where. What was thrown is said by its type alone, since
// it may hold anything, unless the language's own runtime threw it.
func describeFault(fault any) string {
	what := fmt.Sprintf("a panic of type %T", fault)
	if e, ok := fault.(runtime.Error); ok {
		what = e.Error()
	}
	callers := make([]uintptr, maxFrames)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	where := ""
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, "github.com/millwright/") && filepath.Base(f.File) != "guard.go" {
			where += fmt.Sprintf("\n  %s:%d %s", filepath.Base(f.File), f.Line, f.Function[strings.LastIndex(f.Function, "/")+1:])
		}
	}
	return "The provider has a fault: " + sentence(what) + where +
		"\n\nNothing is known of what became of this one object; others are not concerned. Report these lines, and apply again."
}

func faulty(summary, detail string) []*tfprotov6.Diagnostic {
	return []*tfprotov6.Diagnostic{{Severity: tfprotov6.DiagnosticSeverityError, Summary: summary, Detail: detail}}
}

// ConfigureProvider implements tfprotov6.ProviderServer.
func (g guard) ConfigureProvider(ctx context.Context, req *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ConfigureProvider, func(text string) *tfprotov6.ConfigureProviderResponse {
		return &tfprotov6.ConfigureProviderResponse{Diagnostics: faulty("Cannot configure the provider", text)}
	})
}

// ValidateResourceConfig implements tfprotov6.ProviderServer.
func (g guard) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ValidateResourceConfig, func(text string) *tfprotov6.ValidateResourceConfigResponse {
		return &tfprotov6.ValidateResourceConfigResponse{Diagnostics: faulty("Cannot validate a "+req.TypeName, text)}
	})
}

// UpgradeResourceState implements tfprotov6.ProviderServer.
func (g guard) UpgradeResourceState(ctx context.Context, req *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return guarded(ctx, req, g.ProviderServer.UpgradeResourceState, func(text string) *tfprotov6.UpgradeResourceStateResponse {
		return &tfprotov6.UpgradeResourceStateResponse{Diagnostics: faulty("Cannot read the state of a "+req.TypeName, text)}
	})
}

// ReadResource implements tfprotov6.ProviderServer.
func (g guard) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ReadResource, func(text string) *tfprotov6.ReadResourceResponse {
		return &tfprotov6.ReadResourceResponse{NewState: req.CurrentState, Private: req.Private, Diagnostics: faulty("Cannot read a "+req.TypeName, text)}
	})
}

// PlanResourceChange implements tfprotov6.ProviderServer.
func (g guard) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	return guarded(ctx, req, g.ProviderServer.PlanResourceChange, func(text string) *tfprotov6.PlanResourceChangeResponse {
		return &tfprotov6.PlanResourceChangeResponse{Diagnostics: faulty("Cannot plan a "+req.TypeName, text)}
	})
}

// ApplyResourceChange implements tfprotov6.ProviderServer. The state stays as it was.
func (g guard) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ApplyResourceChange, func(text string) *tfprotov6.ApplyResourceChangeResponse {
		return &tfprotov6.ApplyResourceChangeResponse{NewState: req.PriorState, Private: req.PlannedPrivate, Diagnostics: faulty("Cannot change a "+req.TypeName, text)}
	})
}

// ImportResourceState implements tfprotov6.ProviderServer.
func (g guard) ImportResourceState(ctx context.Context, req *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ImportResourceState, func(text string) *tfprotov6.ImportResourceStateResponse {
		return &tfprotov6.ImportResourceStateResponse{Diagnostics: faulty("Cannot import a "+req.TypeName, text)}
	})
}

// ReadDataSource implements tfprotov6.ProviderServer.
func (g guard) ReadDataSource(ctx context.Context, req *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	return guarded(ctx, req, g.ProviderServer.ReadDataSource, func(text string) *tfprotov6.ReadDataSourceResponse {
		return &tfprotov6.ReadDataSourceResponse{Diagnostics: faulty("Cannot read a "+req.TypeName, text)}
	})
}

// OpenEphemeralResource implements tfprotov6.ProviderServer.
func (g guard) OpenEphemeralResource(ctx context.Context, req *tfprotov6.OpenEphemeralResourceRequest) (*tfprotov6.OpenEphemeralResourceResponse, error) {
	return guarded(ctx, req, g.ProviderServer.OpenEphemeralResource, func(text string) *tfprotov6.OpenEphemeralResourceResponse {
		return &tfprotov6.OpenEphemeralResourceResponse{Diagnostics: faulty("Cannot open a "+req.TypeName, text)}
	})
}

// CallFunction implements tfprotov6.ProviderServer.
func (g guard) CallFunction(ctx context.Context, req *tfprotov6.CallFunctionRequest) (*tfprotov6.CallFunctionResponse, error) {
	return guarded(ctx, req, g.ProviderServer.CallFunction, func(text string) *tfprotov6.CallFunctionResponse {
		return &tfprotov6.CallFunctionResponse{Error: &tfprotov6.FunctionError{Text: text}}
	})
}
