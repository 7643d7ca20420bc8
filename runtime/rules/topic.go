package rules

import (
	"fmt"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Filter is a subscription filter that may hold named wildcards: "plant/+line/#rest".
type Filter struct {
	mqtt   string
	levels []string // names of the wildcards, by level; "" where there is none
	named  int
}

// CompileFilter splits a filter with named wildcards. Names are letters, digits, "_" and "-";
// two wildcards of one filter must not have the same. Its errors are of kind spec.Invalid.
func CompileFilter(filter string) (*Filter, error) {
	f := &Filter{}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		name := ""
		if len(level) > 1 && (level[0] == '+' || level[0] == '#') {
			name, levels[i] = level[1:], level[:1]
			if nameLength(name, true) != len(name) {
				return nil, spec.Errorf(spec.Invalid, "cannot use filter %q: wildcard %q has a name that is not letters, digits, \"_\" and \"-\"", filter, level)
			}
			for _, other := range f.levels {
				if other == name {
					return nil, spec.Errorf(spec.Invalid, "cannot use filter %q: the wildcard name %q is there twice", filter, name)
				}
			}
			f.named++
		}
		f.levels = append(f.levels, name)
	}
	f.mqtt = strings.Join(levels, "/")
	if err := spec.CheckFilter(f.mqtt); err != nil {
		return nil, fmt.Errorf("cannot use filter %q: %w", filter, err)
	}
	if group, ok := strings.CutPrefix(f.mqtt, "$share/"); ok && strings.Count(group, "/") == 0 {
		return nil, spec.Errorf(spec.Invalid, "cannot use filter %q: a shared subscription needs a group and a filter", filter)
	}
	return f, nil
}

// MQTT returns the filter as the broker takes it: "plant/+/#".
func (f *Filter) MQTT() string { return f.mqtt }

// Matches reports whether messages on topic come to a subscription of the filter.
func (f *Filter) Matches(topic string) bool {
	plain, _ := f.plain()
	return spec.TopicMatches(plain, topic)
}

// plain returns the filter that topics must match, and its levels' names: a shared subscription's begins
// after its group.
func (f *Filter) plain() (filter string, levels []string) {
	if strings.HasPrefix(f.mqtt, "$share/") {
		return strings.SplitN(f.mqtt, "/", 3)[2], f.levels[2:]
	}
	return f.mqtt, f.levels
}

// Bind returns what the named wildcards matched in topic, nil where there are none; ok is false
// if topic does not match. "#name" matches all the levels that are left, "" for none.
func (f *Filter) Bind(topic string) (vars map[string]string, ok bool) {
	plain, levels := f.plain()
	if !spec.TopicMatches(plain, topic) {
		return nil, false
	}
	if f.named == 0 {
		return nil, true
	}
	vars = make(map[string]string, f.named)
	rest, filter := topic, plain
	for _, name := range levels {
		kind, next, _ := strings.Cut(filter, "/")
		level, tail, _ := strings.Cut(rest, "/")
		if kind == "#" {
			level = rest
		}
		if name != "" {
			vars[name] = level
		}
		rest, filter = tail, next
	}
	return vars, true
}

// nameLength returns how many bytes at the beginning of s are a variable's name.
func nameLength(s string, hyphen bool) int {
	for i := range len(s) {
		b := s[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '_', b == '-' && hyphen:
		default:
			return i
		}
	}
	return len(s)
}
