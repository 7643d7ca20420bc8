package main

import (
	"context"
	"slices"

	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/stack"
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// inputOptions say what is to be planned or applied.
type inputOptions struct {
	files            []string
	id               string
	set              []string
	parametersFile   string
	prune            bool
	adopt            bool
	allowUnsupported bool
	maxDisturbance   string
}

func (o *inputOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.id, "id", "", "`id` of the service (default: from the file's metadata.name)")
	f.StringArrayVar(&o.set, "set", nil, "parameter `NAME=VALUE`, the value typed as in YAML; repeatable; the instance keeps the others")
	f.StringVar(&o.parametersFile, "parameters-file", "", "`file` with all parameters, YAML or JSON")
	f.BoolVar(&o.prune, "prune", false, "delete what the stack no longer names")
	f.BoolVar(&o.adopt, "adopt", false, "take over objects of another owner")
	f.BoolVar(&o.allowUnsupported, "allow-unsupported", false, "install what this build can run of a file; the rest deviates")
	f.StringVar(&o.maxDisturbance, "max-disturbance", "", "`level` not to be exceeded: none, endpoint, connection, container, service, instance")
}

func (o *inputOptions) check() error {
	if len(o.files) == 0 {
		return spec.Errorf(spec.Invalid, "cannot go on without a file").WithHint("name one, or \"-\" for standard input")
	}
	if o.maxDisturbance != "" {
		if err := plan.Disturbance(o.maxDisturbance).Check(); err != nil {
			return err
		}
	}
	if len(o.files) > 1 && (o.id != "" || len(o.set) > 0 || o.parametersFile != "") {
		return spec.Errorf(spec.Invalid, "cannot use --id, --set or --parameters-file with several files: they are for one service").
			WithHint("apply the files one by one, or declare them in a stack file")
	}
	if o.id != "" {
		return spec.CheckServiceID(o.id)
	}
	return nil
}

// input is what the files and flags come to.
type input struct {
	request   plan.Request
	instance  *spec.Instance // of a stack file; nil: what is planned is on the context's instance
	sources   *sources
	set       []assignment
	sensitive map[string]bool // of the parameters in set
}

func (in *input) standardInput() bool { return slices.Contains(in.sources.names, "-") }

// load reads and checks everything and makes the request. Mistakes in files come as one
// error of kind invalid with all diagnostics; warnings are left to the server's plan.
func (o *inputOptions) load(ctx context.Context, s *streams) (*input, error) {
	in := &input{sources: newSources(s), sensitive: map[string]bool{}}
	in.request = plan.Request{Prune: o.prune, Adopt: o.adopt, AllowUnsupported: o.allowUnsupported}
	parameters, err := o.parameters(ctx, in)
	if err != nil {
		return nil, err
	}
	var found []spec.Diagnostic
	for _, file := range o.files {
		text, err := in.sources.file(ctx, file)
		if err != nil {
			return nil, err
		}
		var diagnostics []spec.Diagnostic
		if stack.Kind(text) {
			diagnostics, err = o.addStack(ctx, in, file, text)
		} else {
			diagnostics = in.addService(file, text, o.id, parameters, o.parametersFile == "")
		}
		if err != nil {
			return nil, err
		}
		found = append(found, diagnostics...)
	}
	if o.prune && in.request.Owner == "" {
		return nil, spec.Errorf(spec.Invalid, "cannot prune: only a stack file says what belongs together")
	}
	return in, refuse(unique(found))
}

// parameters are those of --parameters-file, and over them those of --set; nil if neither is given.
func (o *inputOptions) parameters(ctx context.Context, in *input) (map[string]any, error) {
	var parameters map[string]any
	if o.parametersFile != "" {
		text, err := in.sources.file(ctx, o.parametersFile)
		if err != nil {
			return nil, err
		}
		if parameters, err = parametersOf(o.parametersFile, text); err != nil {
			return nil, err
		}
	}
	var err error
	if in.set, err = assignments("--set", o.set); err != nil || len(in.set) == 0 {
		return parameters, err
	}
	if parameters == nil {
		parameters = map[string]any{}
	}
	for name, value := range values(in.set) {
		parameters[name] = value
	}
	return parameters, nil
}

// addService checks one commissioning file and adds it to the request. A parameter file says
// all parameters; --set alone says some, and the instance keeps the others.
func (in *input) addService(file string, text []byte, id string, parameters map[string]any, some bool) []spec.Diagnostic {
	service, diagnostics := evaluate(file, text, id, parameters, some)
	if service != nil {
		in.markSensitive(service.Parameters)
	}
	in.request.Services = append(in.request.Services, spec.Service{
		ID: id, Commissioning: string(text), CommissioningFile: file,
		Parameters: parameters, MergeParameters: some && parameters != nil,
	})
	return diagnostics
}

// markSensitive fingerprints the values of --set that a plan file must not hold.
func (in *input) markSensitive(parameters []commissioning.Parameter) {
	for _, p := range parameters {
		for _, a := range in.set {
			if p.Sensitive && a.name == p.Name {
				in.sensitive[a.name] = true
				in.sources.saw("parameter "+a.name, []byte(a.text))
			}
		}
	}
}

// evaluate checks a commissioning file as far as that goes without an instance. Those
// parameters that the instance keeps may stand in for missing ones if only some are given. What
// is named sensitive is a secret whatever the file says.
func evaluate(file string, text []byte, id string, parameters map[string]any, some bool, sensitive ...string) (*commissioning.Service, []spec.Diagnostic) {
	parsed, found := commissioning.Parse(file, text)
	if parsed == nil {
		return nil, found
	}
	service, more := parsed.Evaluate(commissioning.Input{
		ID: id, Parameters: parameters, CheckExpression: checkExpression, AllowMissing: some, Sensitive: sensitive,
	})
	return service, append(found, more...)
}

func checkExpression(source string) error {
	_, err := expr.Compile(source)
	return err
}

// refuse makes an error of diagnostics that hold one.
func refuse(found []spec.Diagnostic) error {
	if !spec.HasErrors(found) {
		return nil
	}
	e := spec.Errorf(spec.Invalid, "%s, nothing was changed", count(errorsIn(found), "error"))
	e.Diagnostics = found
	return e
}

// absent makes the request that removes what the files declare.
func (o *inputOptions) absent(ctx context.Context, s *streams) (*input, error) {
	in := &input{sources: newSources(s)}
	for _, file := range o.files {
		text, err := in.sources.file(ctx, file)
		if err != nil {
			return nil, err
		}
		if stack.Kind(text) {
			if len(o.files) > 1 || o.id != "" {
				return nil, spec.Errorf(spec.Invalid, "cannot use the stack file %q with another file or --id", file)
			}
			return in, in.addAbsent(ctx, file, text)
		}
		id := o.id
		if id == "" {
			if id, err = serviceID(file, text); err != nil {
				return nil, err
			}
		}
		in.request.Services = append(in.request.Services, spec.Service{ID: id, State: spec.Absent})
	}
	return in, nil
}

// addAbsent makes everything that a stack declares absent. With an instance that alone is enough.
func (in *input) addAbsent(ctx context.Context, file string, text []byte) (err error) {
	declared, found := stack.Parse(file, text)
	if err := refuse(found); err != nil {
		return err
	}
	if declared.Instance == nil {
		in.request, err = absentStack(ctx, in.sources, declared)
		return err
	}
	identity := declared.Identity()
	identity.State = spec.Absent
	in.instance, err = absolutePaths(identity)
	return err
}
