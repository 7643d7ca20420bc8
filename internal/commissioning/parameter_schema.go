package commissioning

import (
	"fmt"
	"math/big"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// problem is one way in which a value does not fit its schema. Messages follow the
// parameter's name: "must be at least 1".
type problem struct {
	path, code, message, hint string
	inSchema                  *node // the schema itself is wrong there
	warning                   bool
}

// checkSchema checks a value as JSON Schema does, with the keys that the reference lists.
func checkSchema(schema, v *node, path string) []problem {
	if schema == nil || schema.kind != object || v.kind == broken || v.kind == symbolic {
		return nil
	}
	if found := checkType(schema.get("type"), v, path); found != nil {
		return found
	}
	var found []problem
	for _, check := range []func(schema, v *node, path string) []problem{
		checkChoice, checkText, checkNumber, checkItems, checkFields, checkCombined,
	} {
		found = append(found, check(schema, v, path)...)
	}
	return found
}

var schemaTypes = []string{"string", "number", "integer", "boolean", "array", "object", "null"}

func checkType(declared, v *node, path string) []problem {
	if declared.absent() {
		return nil
	}
	names := []*node{declared}
	if declared.kind == list {
		names = declared.items
	}
	var allowed []string
	for _, n := range names {
		if n.kind != text || !slices.Contains(schemaTypes, n.text) {
			return []problem{{
				path: path, code: "unknown-type", inSchema: n, hint: didYouMean(n.text, schemaTypes),
				message: fmt.Sprintf("has the unknown type %q", n.shown()),
			}}
		}
		if isOfType(v, n.text) {
			return nil
		}
		allowed = append(allowed, n.text)
	}
	return one(path, "wrong-type", "must be of type %s, not %s", strings.Join(allowed, " or "), v.kind)
}

func isOfType(v *node, name string) bool {
	switch name {
	case "string":
		return v.kind == text || v.kind == symbolic
	case "number":
		return v.kind == number
	case "integer":
		return v.kind == number && isInteger(v.text)
	case "boolean":
		return v.kind == boolean
	case "array":
		return v.kind == list
	case "object":
		return v.kind == object
	}
	return v.kind == null
}

func one(path, code, format string, args ...any) []problem {
	return []problem{{path: path, code: code, message: fmt.Sprintf(format, args...)}}
}

func checkChoice(schema, v *node, path string) []problem {
	if c := schema.get("const"); c != nil && !same(c, v) {
		return one(path, "not-allowed", "must be %s", c.shown())
	}
	choices := schema.get("enum")
	if choices == nil || choices.kind != list || slices.ContainsFunc(choices.items, func(c *node) bool { return same(c, v) }) {
		return nil
	}
	var names []string
	for _, c := range choices.items {
		names = append(names, c.shown())
	}
	p := one(path, "not-allowed", "is %s; it must be one of %s", v.shown(), strings.Join(names, ", "))
	if !v.secret {
		p[0].hint = didYouMean(v.shown(), names)
	}
	return p
}

// same compares two values, maps without regard to order.
func same(a, b *node) bool {
	if a.kind != b.kind || a.text != b.text || a.flag != b.flag || len(a.items) != len(b.items) || len(a.fields) != len(b.fields) {
		return false
	}
	for i := range a.items {
		if !same(a.items[i], b.items[i]) {
			return false
		}
	}
	for _, f := range a.fields {
		if other := b.get(f.name); other == nil || !same(f.value, other) {
			return false
		}
	}
	return true
}

func checkText(schema, v *node, path string) []problem {
	if v.kind != text {
		return nil
	}
	var found []problem
	length := utf8.RuneCountInString(v.text)
	if n, ok := count(schema, "minLength"); ok && length < n {
		found = append(found, one(path, "too-short", "has %d characters; at least %d are needed", length, n)...)
	}
	if n, ok := count(schema, "maxLength"); ok && length > n {
		found = append(found, one(path, "too-long", "has %d characters; at most %d are allowed", length, n)...)
	}
	if p := schema.get("pattern"); p != nil && p.kind == text {
		found = append(found, checkPattern(p, v, path)...)
	}
	if f := schema.get("format"); f != nil && f.kind == text {
		if ok, checked := matchesFormat(f.text, v.text); checked && !ok {
			found = append(found, one(path, "wrong-format", "is %q, which is no %s", v.shown(), f.text)...)
		}
	}
	return found
}

func checkPattern(p, v *node, path string) []problem {
	re, err := regexp.Compile(p.text)
	if err != nil {
		return []problem{{
			path: path, code: "bad-pattern", inSchema: p, warning: true,
			message: fmt.Sprintf("has a pattern that cannot be checked: %v", err),
		}}
	}
	if !re.MatchString(v.text) {
		return one(path, "wrong-format", "is %q, which does not match the pattern %q", v.shown(), p.text)
	}
	return nil
}

func count(schema *node, key string) (int, bool) {
	n := schema.get(key)
	if n == nil || n.kind != number {
		return 0, false
	}
	i, err := strconv.Atoi(n.text)
	return i, err == nil
}

var (
	hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$`)
	uuid     = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// matchesFormat checks the formats it knows; checked is false for any other.
func matchesFormat(format, s string) (ok, checked bool) {
	switch format {
	case "ipv4":
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is4(), true
	case "ipv6":
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is6(), true
	case "hostname":
		return isHost(s), true
	case "uri", "url":
		u, err := url.Parse(s)
		return err == nil && u.Scheme != "", true
	case "email":
		a, err := mail.ParseAddress(s)
		return err == nil && a.Address == s, true
	case "date-time":
		_, err := time.Parse(time.RFC3339, s)
		return err == nil, true
	case "date":
		_, err := time.Parse(time.DateOnly, s)
		return err == nil, true
	case "uuid":
		return uuid.MatchString(s), true
	case "regex":
		_, err := regexp.Compile(s)
		return err == nil, true
	}
	return true, false
}

// isHost accepts names and addresses.
func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || len(s) <= 253 && hostname.MatchString(s)
}

func checkNumber(schema, v *node, path string) []problem {
	if v.kind != number {
		return nil
	}
	value, ok := new(big.Rat).SetString(v.text)
	if !ok {
		return nil
	}
	var found []problem
	for _, b := range []struct {
		key, words string
		bad        func(c int) bool
	}{
		{"minimum", "at least", func(c int) bool { return c < 0 }},
		{"maximum", "at most", func(c int) bool { return c > 0 }},
		{"exclusiveMinimum", "more than", func(c int) bool { return c <= 0 }},
		{"exclusiveMaximum", "less than", func(c int) bool { return c >= 0 }},
	} {
		if bound, digits, ok := rational(schema, b.key); ok && b.bad(value.Cmp(bound)) {
			found = append(found, one(path, "out-of-range", "is %s; it must be %s %s", v.shown(), b.words, digits)...)
		}
	}
	if step, digits, ok := rational(schema, "multipleOf"); ok && step.Sign() > 0 && !new(big.Rat).Quo(value, step).IsInt() {
		found = append(found, one(path, "out-of-range", "is %s; it must be a multiple of %s", v.shown(), digits)...)
	}
	return found
}

func rational(schema *node, key string) (*big.Rat, string, bool) {
	n := schema.get(key)
	if n == nil || n.kind != number {
		return nil, "", false
	}
	r, ok := new(big.Rat).SetString(n.text)
	return r, n.text, ok
}

func checkItems(schema, v *node, path string) []problem {
	if v.kind != list {
		return nil
	}
	var found []problem
	if n, ok := count(schema, "minItems"); ok && len(v.items) < n {
		found = append(found, one(path, "too-short", "has %d items; at least %d are needed", len(v.items), n)...)
	}
	if n, ok := count(schema, "maxItems"); ok && len(v.items) > n {
		found = append(found, one(path, "too-long", "has %d items; at most %d are allowed", len(v.items), n)...)
	}
	unique := schema.get("uniqueItems")
	for i, item := range v.items {
		if unique != nil && unique.flag && slices.ContainsFunc(v.items[:i], func(o *node) bool { return same(o, item) }) {
			found = append(found, one(path, "duplicate-item", "holds the same item twice")...)
			unique = nil
		}
		found = append(found, checkSchema(schema.get("items"), item, fmt.Sprintf("%s[%d]", path, i))...)
	}
	return found
}

func checkFields(schema, v *node, path string) []problem {
	if v.kind != object {
		return nil
	}
	var found []problem
	if n, ok := count(schema, "minProperties"); ok && len(v.fields) < n {
		found = append(found, one(path, "too-short", "has %d entries; at least %d are needed", len(v.fields), n)...)
	}
	if n, ok := count(schema, "maxProperties"); ok && len(v.fields) > n {
		found = append(found, one(path, "too-long", "has %d entries; at most %d are allowed", len(v.fields), n)...)
	}
	if required := schema.get("required"); required != nil && required.kind == list {
		for _, name := range required.items {
			if v.get(name.text) == nil {
				found = append(found, one(path, "missing-property", "needs the entry %q", name.text)...)
			}
		}
	}
	properties, others := schema.get("properties"), schema.get("additionalProperties")
	for _, f := range v.fields {
		below := strings.TrimPrefix(path+"."+f.name, ".")
		switch declared := properties.get(f.name); {
		case declared != nil:
			found = append(found, checkSchema(declared, f.value, below)...)
		case others != nil && others.kind == boolean && !others.flag:
			p := one(path, "unknown-property", "has the unknown entry %q", f.name)
			p[0].hint = didYouMean(f.name, properties.names())
			found = append(found, p...)
		default:
			found = append(found, checkSchema(others, f.value, below)...)
		}
	}
	return found
}

func checkCombined(schema, v *node, path string) []problem {
	var found []problem
	fits := func(s *node) bool { return len(checkSchema(s, v, path)) == 0 }
	matches := func(key string) (n int, given bool) {
		alternatives := schema.get(key)
		if alternatives == nil || alternatives.kind != list {
			return 0, false
		}
		for _, s := range alternatives.items {
			if fits(s) {
				n++
			}
		}
		return n, true
	}
	if all := schema.get("allOf"); all != nil {
		for _, s := range all.items {
			found = append(found, checkSchema(s, v, path)...)
		}
	}
	if n, given := matches("anyOf"); given && n == 0 {
		found = append(found, one(path, "not-allowed", "fits none of anyOf")...)
	}
	if n, given := matches("oneOf"); given && n != 1 {
		found = append(found, one(path, "not-allowed", "fits %d of oneOf; it must fit exactly one", n)...)
	}
	if not := schema.get("not"); not != nil && not.kind == object && fits(not) {
		found = append(found, one(path, "not-allowed", "is what \"not\" excludes")...)
	}
	return found
}
