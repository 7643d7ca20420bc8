package ansible

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// arguments are a module's checked arguments: under the options' names, each of its type,
// with defaults. What was not given and has no default is not in it.
type arguments map[string]any

// check turns what a task gives into arguments, or says what is wrong with it in the words
// of Ansible's own modules. The warnings are for the user to see.
func (m *Module) check(given map[string]any) (args arguments, warnings []string, err error) {
	options := m.options()
	args, warnings, err = checkOptions(m, "", options, m.accepted(given))
	if err != nil {
		return nil, warnings, err
	}
	for _, group := range m.exclusive() {
		var found []string
		for _, name := range group {
			if _, ok := args[name]; ok {
				found = append(found, name)
			}
		}
		if len(found) > 1 {
			return nil, warnings, spec.Errorf(spec.Invalid, "parameters are mutually exclusive: %s", strings.Join(group, "|"))
		}
	}
	setDefaults(options, args)
	for _, rule := range m.RequiredIf {
		var missing []string
		for _, name := range rule.Needs {
			if _, ok := args[name]; !ok {
				missing = append(missing, name)
			}
		}
		if args[rule.Option] == rule.Value && len(missing) > 0 {
			return nil, warnings, spec.Errorf(spec.Invalid, "%s is %v but all of the following are missing: %s", rule.Option, rule.Value, strings.Join(missing, ", "))
		}
	}
	return args, warnings, nil
}

// checkOptions checks one level; place is "" or names the option that the level belongs to.
func checkOptions(m *Module, place string, options []Option, given map[string]any) (args arguments, warnings []string, err error) {
	args = arguments{}
	taken := map[string]bool{}
	for _, o := range options {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			v, ok := given[name]
			taken[name] = true
			if !ok || v == nil && !o.Nullable { // null is how a template leaves an option out
				continue
			}
			if _, twice := args[o.Name]; twice {
				warnings = append(warnings, fmt.Sprintf("Both option %s and its alias %s are set.", o.Name, name))
				continue
			}
			if v == nil {
				args[o.Name] = nil
				continue
			}
			value, more, err := checkValue(m, place, o, v)
			warnings = append(warnings, more...)
			if err != nil {
				return nil, warnings, err
			}
			args[o.Name] = value
		}
	}
	if err := refuseUnknown(m, place, options, taken, given); err != nil {
		return nil, warnings, err
	}
	var missing []string
	for _, o := range options {
		if _, ok := args[o.Name]; o.Required && !ok {
			missing = append(missing, o.Name)
		}
	}
	if len(missing) > 0 {
		return nil, warnings, spec.Errorf(spec.Invalid, "missing required arguments: %s%s", strings.Join(missing, ", "), foundIn(place))
	}
	return args, warnings, nil
}

// refuseUnknown refuses what no option is called. Keys of Ansible's own are ignored.
func refuseUnknown(m *Module, place string, options []Option, known map[string]bool, given map[string]any) error {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] && !strings.HasPrefix(name, internalPrefix) {
			unknown = append(unknown, place+name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	var supported []string
	for _, o := range options {
		name := o.Name
		if len(o.Aliases) > 0 {
			name += " (" + strings.Join(o.Aliases, ", ") + ")"
		}
		supported = append(supported, name)
	}
	slices.Sort(supported)
	return spec.Errorf(spec.Invalid, "Unsupported parameters for (%s.%s) module: %s. Supported parameters include: %s.",
		Collection, m.Name, strings.Join(unknown, ", "), strings.Join(supported, ", "))
}

func checkValue(m *Module, place string, o Option, v any) (value any, warnings []string, err error) {
	value, err = coerce(v, o.Type)
	if err != nil {
		return nil, nil, spec.Errorf(spec.Invalid, "argument '%s' is of type %s and we were unable to convert to %s: %s%s", o.Name, kindOf(v), o.Type, err, foundIn(place))
	}
	switch x := value.(type) {
	case []any:
		return checkElements(m, place, o, x)
	case map[string]any:
		if o.Each != nil {
			return checkEach(m, place+o.Name+".", *o.Each, x)
		}
		if len(o.Options) == 0 {
			return x, nil, nil
		}
		args, warnings, err := checkOptions(m, place+o.Name+".", o.Options, x)
		setDefaults(o.Options, args)
		return map[string]any(args), warnings, err
	}
	return value, nil, checkChoice(place, o, value)
}

func checkElements(m *Module, place string, o Option, list []any) (value any, warnings []string, err error) {
	out := []any{}
	for _, v := range list {
		element := Option{Name: o.Name, Type: o.Elements, Options: o.Options, Choices: o.Choices}
		checked, more, err := checkValue(m, place, element, v)
		warnings = append(warnings, more...)
		if err != nil {
			return nil, warnings, err
		}
		out = append(out, checked)
	}
	return out, warnings, nil
}

// checkEach checks the values of a dict with any keys. One that is null is not given.
func checkEach(m *Module, place string, each Option, given map[string]any) (value any, warnings []string, err error) {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if given[name] == nil {
			continue
		}
		each.Name = name
		checked, more, err := checkValue(m, place, each, given[name])
		warnings = append(warnings, more...)
		if err != nil {
			return nil, warnings, err
		}
		out[name] = checked
	}
	return out, warnings, nil
}

func checkChoice(place string, o Option, value any) error {
	text, ok := value.(string)
	if len(o.Choices) == 0 || ok && slices.Contains(o.Choices, text) {
		return nil
	}
	got := fmt.Sprint(value)
	if o.NoLog {
		got = masked
	}
	return spec.Errorf(spec.Invalid, "value of %s must be one of: %s, got: %s%s", o.Name, strings.Join(o.Choices, ", "), got, foundIn(place))
}

func foundIn(place string) string {
	if place == "" {
		return ""
	}
	return " found in " + strings.TrimSuffix(place, ".")
}

func setDefaults(options []Option, args arguments) {
	for _, o := range options {
		if _, ok := args[o.Name]; args != nil && !ok && o.Default != nil {
			args[o.Name] = o.Default
		}
	}
}

// decode lays the arguments out as a struct whose JSON names are the options'.
func decode[T any](args arguments) (v T, err error) {
	text, err := json.Marshal(args)
	if err != nil {
		return v, spec.Errorf(spec.Internal, "cannot encode the arguments: %w", err)
	}
	object := json.NewDecoder(strings.NewReader(string(text)))
	object.UseNumber()
	if err := object.Decode(&v); err != nil {
		return v, spec.Errorf(spec.Internal, "cannot decode the arguments: %w", err)
	}
	return v, nil
}

// text returns a text argument, or "".
func (a arguments) text(name string) string {
	s, _ := a[name].(string) // not given is ""
	return s
}

// flag returns a boolean argument, or false.
func (a arguments) flag(name string) bool {
	b, _ := a[name].(bool) // not given is false
	return b
}

// seconds returns a numeric argument, or 0.
func (a arguments) seconds(name string) time.Duration {
	n, _ := a[name].(int64) // not given is 0
	const most = int64(time.Duration(1<<63-1) / time.Second)
	return time.Duration(max(min(n, most), -most)) * time.Second
}
