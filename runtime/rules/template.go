package rules

import (
	"encoding/json"
	"strings"

	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/spec"
)

// Template is a publish topic or label with $name and {name}.
type Template struct{ parts []part }

// part is text or a variable.
type part struct{ text, name string }

// CompileTemplate parses a publish topic. ($name only where dollar is true: labels have {name}
// alone.) What is no variable, such as "$ 5" or "{}", is text. A topic that no value of its
// variables can make valid is an error of kind spec.Invalid.
func CompileTemplate(text string, dollar bool) (*Template, error) {
	t := &Template{}
	start := 0
	for i := 0; i < len(text); {
		name, size := variable(text[i:], dollar)
		if size == 0 {
			i++
			continue
		}
		t.add(text[start:i], name)
		i += size
		start = i
	}
	t.add(text[start:], "")
	if !dollar {
		return t, nil
	}
	sample := ""
	for _, p := range t.parts {
		sample += p.text
		if p.name != "" {
			sample += "x"
		}
	}
	if err := spec.CheckTopic(sample); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use topic %q: %w", text, err)
	}
	return t, nil
}

func (t *Template) add(text, name string) {
	if text != "" {
		t.parts = append(t.parts, part{text: text})
	}
	if name != "" {
		t.parts = append(t.parts, part{name: name})
	}
}

// variable reads a variable at the beginning of s; size 0 means that there is none.
func variable(s string, dollar bool) (name string, size int) {
	switch {
	case s[0] == '$' && dollar:
		if n := nameLength(s[1:], false); n > 0 {
			return s[1 : 1+n], 1 + n
		}
	case s[0] == '{':
		n := nameLength(s[1:], true)
		if n > 0 && strings.HasPrefix(s[1+n:], "}") {
			return s[1 : 1+n], n + 2
		}
	}
	return "", 0
}

// Expand fills the variables in; missing names the first that is unset ("" if none). Text,
// numbers and booleans can stand in a topic; anything else counts as unset.
func (t *Template) Expand(vars map[string]any) (text, missing string) {
	if len(t.parts) == 1 && t.parts[0].name == "" {
		return t.parts[0].text, ""
	}
	var b []byte
	for _, p := range t.parts {
		if p.name == "" {
			b = append(b, p.text...)
			continue
		}
		switch v := vars[p.name].(type) {
		case string:
			b = append(b, v...)
		case json.Number, float64, bool, int64, uint64, int:
			b = expr.Append(b, v)
		default:
			return "", p.name
		}
	}
	return string(b), ""
}
