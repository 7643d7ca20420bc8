package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// draftParameters lays what a request gives of parameters over those that are installed: the plain
// ones, those given as secrets, and the secrets' label.
func (d *draft) draftParameters(s spec.Service, content *serviceContent) error {
	if s.Parameters == nil && s.SecretParameters == nil && s.SecretLabel == "" {
		return nil
	}
	had, err := decodeParameters(content.Parameters)
	if err != nil {
		return err
	}
	next, err := parametersOf(s, had, *content)
	if err != nil {
		return err
	}
	if s.ID != "" && s.SecretParameters == nil && next.label != content.SecretLabel && next.label != "" {
		d.unsaid = append(d.unsaid, plan.ServiceAddress(s.ID)) // no id yet: it comes again with that of its file
	}
	// Who may not learn whether secrets differ does not learn it of the label either.
	if s.SecretLabel == "" && !d.caller.allows(spec.HTTP, spec.Write, servicesRoute+s.ID) {
		next.label = content.SecretLabel
		if s.SecretParameters == nil {
			next.secrets = content.SecretNames
		}
	}
	text, err := json.Marshal(next.values)
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot read the parameters of service %q: %w", s.ID, err)
	}
	content.Parameters, content.SecretNames, content.SecretLabel = text, next.secrets, next.label
	return nil
}

// parameterSet are all parameters of a service.
type parameterSet struct {
	values  map[string]any
	secrets []string // names of those that were given as secrets
	label   string
}

// parametersOf is what a service's parameters are after the request.
func parametersOf(s spec.Service, had map[string]any, was serviceContent) (parameterSet, error) {
	labelled := s.SecretParameters != nil || s.SecretLabel != ""
	given := map[string]any{}
	if s.Parameters == nil || s.MergeParameters {
		maps.Copy(given, had)
		maps.DeleteFunc(given, func(name string, _ any) bool { return labelled && slices.Contains(was.SecretNames, name) })
	}
	maps.Copy(given, s.Parameters)
	if !labelled {
		if keeps(given, had, was.SecretNames) {
			return parameterSet{given, was.SecretNames, was.SecretLabel}, nil
		}
		return parameterSet{values: given}, nil
	}
	secret := s.SecretParameters
	if secret == nil { // the label stands for them
		secret = map[string]any{}
		for _, name := range was.SecretNames {
			secret[name] = had[name]
		}
	}
	names := sortedKeys(secret)
	for _, name := range names {
		if _, twice := s.Parameters[name]; twice {
			return parameterSet{}, spec.Errorf(spec.Invalid, "cannot take parameter %q of service %q: it is among both parameters and secret_parameters", name, s.ID).
				WithHint("give it in one of them; one that moves needs all secret_parameters, with another label")
		}
	}
	next := parameterSet{given, names, s.SecretLabel}
	maps.Copy(next.values, secret)
	if next.label == "" && slices.Equal(names, was.SecretNames) && keeps(secret, had, names) {
		next.label = was.SecretLabel
	}
	return next, nil
}

// keeps reports whether the named values are the ones that were had. What a command line can
// only give as text counts as the number that it reads as.
func keeps(given, had map[string]any, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		v, ok := given[name]
		return !ok || asJSON(v) != asJSON(had[name]) && fmt.Sprint(v) != fmt.Sprint(had[name])
	})
}

// checkUnsaid refuses to lay a label beside a secret that was not sent with it.
func (d *draft) checkUnsaid(plan.Plan) error {
	if len(d.unsaid) == 0 {
		return nil
	}
	return spec.Errorf(spec.Invalid, "cannot apply %s: the label of its secret is another than the one that is kept, and the secret itself is not given", d.unsaid[0]).
		WithHint("send the secret together with its label")
}
