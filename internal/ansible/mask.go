package ansible

import (
	"encoding/json"
	"slices"
	"strings"
)

// masked stands for the value of a secret argument, as in Ansible's own modules; partly
// where it is but a part of a text.
const (
	masked = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
	partly = "********"
)

// secrets are texts that must not be in a result.
type secrets []string

// add notes every text and number in v.
func (s *secrets) add(v any) {
	switch x := v.(type) {
	case string:
		if x != "" {
			*s = append(*s, x)
		}
	case json.Number:
		*s = append(*s, x.String())
	case []any:
		for _, e := range x {
			s.add(e)
		}
	case map[string]any:
		for _, e := range x {
			s.add(e)
		}
	}
}

// ordered has the longest first, so that a secret that holds another one goes as a whole.
func (s secrets) ordered() secrets {
	slices.SortFunc(s, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(s)
}

// mask returns v, of JSON's types, without the secrets. The keys of maps are names, and stay.
func (s secrets) mask(v any) any {
	switch x := v.(type) {
	case string:
		return s.maskText(x)
	case json.Number:
		if slices.Contains(s, x.String()) {
			return masked
		}
	case []any:
		out := make([]any, 0, len(x))
		for _, e := range x {
			out = append(out, s.mask(e))
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = s.mask(e)
		}
		return out
	}
	return v
}

func (s secrets) maskText(text string) string {
	for _, secret := range s {
		if text == secret {
			return masked
		}
		text = strings.ReplaceAll(text, secret, partly)
	}
	return text
}

// replaced returns v, of JSON's types, with other words in its texts.
func replaced(v any, words *strings.Replacer) any {
	switch x := v.(type) {
	case string:
		return words.Replace(x)
	case []any:
		out := make([]any, 0, len(x))
		for _, e := range x {
			out = append(out, replaced(e, words))
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = replaced(e, words)
		}
		return out
	}
	return v
}
