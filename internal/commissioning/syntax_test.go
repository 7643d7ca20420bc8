package commissioning

import (
	"strings"
	"testing"
)

// TestSyntax holds that an error of the YAML is found where it is, with a hint that fits.
func TestSyntax(t *testing.T) {
	for name, c := range map[string]struct{ src, at, hint string }{
		"second document":  {"a: 1\n---\nb: 2\n", "2:1", "from --- on"},
		"document end":     {"a: 1\n...\nb: 2\n", "3:1", "from ... on"},
		"open brace":       {"x: 1\na: {b: 1\nc: 2\nd: 3\n", "2:1", "with a }"},
		"open bracket":     {"x: 1\ny:\n  a: [1, 2\n  c: 3\n", "3:3", "with a ]"},
		"closed by other":  {"x: 1\ny: [a]\na: {b: 1, c: [1, 2}\nz: 1\n", "3:1", "with a ]"},
		"after good brace": {"x: {a: 1,\n  b: 2}\ny: {a: 1,\n  b: 2\nz: 1\n", "4:3", "with a }"},
		"tab":              {"a:\n  b: 1\n\tc: 2\n", "3:1", "no tabs"},
		"tab first":        {"x: 1\na:\n\tb: 1\n", "3:1", "no tabs"},
		"colon in text":    {"x: 1\na: b: c\ny: 2\n", "2:1", "\": \""},
		"quote in quote":   {"x: 1\na: 'it's'\ny: 2\n", "2:1", "'' for one"},
		"open quote":       {"x: 1\na: \"open\nb: 2\n", "2:1", "close the quote"},
		"escape":           {"x: 1\na: \"C:\\qq\"\n", "2:1", "backslash"},
		"reserved":         {"x: 1\na: @x\n", "2:1", "begins with one of"},
		"alias":            {"x: 1\na: *nope\n", "2:1", "begins with *"},
		"indented less":    {"d: x\nr:\n  a:\n    type: X\n   properties: {}\n  b: 1\n", "5:4", "alike"},
		"indented more":    {"a: 1\n b: 2\nc: 3\n", "2:2", "alike"},
		"list and key":     {"a:\n  - 1\n  - 2\n  b: 2\nc: 1\n", "4:3", "each with a dash"},
		"no colon":         {"a: 1\nbcd\ne: 2\n", "2:1", "with a blank"},
		"list in line":     {"x: 1\na: - b\n", "2:1", "line of its own"},
		"closed twice":     {"x: 1\na: ]\n", "2:1", "begins with ,"},
		"control":          {"x: 1\na: \x01\n", "2:1", "remove the character"},
		"version":          {"%YAML 9.9\n---\na: 1\n", "1:1", "%YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			f, ds := Parse("f.yml", []byte(c.src))
			if f != nil || len(ds) != 1 || ds[0].Code != "yaml-syntax" {
				t.Fatalf("got %v, %v", f, ds)
			}
			if !strings.HasPrefix(ds[0].String(), "f.yml:"+c.at+":") || !strings.Contains(ds[0].Hint, c.hint) {
				t.Errorf("got %v\nwant it at %s, with a hint that says %q", ds[0], c.at, c.hint)
			}
		})
	}
}
