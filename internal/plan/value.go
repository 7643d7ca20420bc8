package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
)

// comparison collects the changes between two canonical trees.
type comparison struct {
	changes []Change
	// blind hides whether secrets differ.
	blind bool
}

// missing marks an attribute that one side lacks; nil is a JSON null.
type missing struct{}

// compare appends the changes of one attribute and all below it.
func (c *comparison) compare(path string, from, to any) {
	switch {
	case isSecret(from) || isSecret(to):
		c.compareSecret(path, from, to)
	case isMap(from) && isMap(to), isMap(from) && absent(to), absent(from) && isMap(to):
		c.compareMap(path, from, to)
	case isList(from) && isList(to), isList(from) && absent(to), absent(from) && isList(to):
		c.compareList(path, from, to)
	case !equalValue(from, to):
		c.changes = append(c.changes, Change{Path: path, From: shown(from), To: shown(to)})
	}
}

func (c *comparison) compareSecret(path string, from, to any) {
	switch {
	case absent(from) || absent(to):
		c.changes = append(c.changes, Change{Path: path, Sensitive: true})
	case c.blind:
		c.changes = append(c.changes, Change{Path: path, Sensitive: true, NotCompared: true})
	case !equalValue(from, to):
		c.changes = append(c.changes, Change{Path: path, Sensitive: true})
	}
}

func (c *comparison) compareMap(path string, from, to any) {
	f, _ := from.(map[string]any)
	t, _ := to.(map[string]any)
	keys := slices.Collect(maps.Keys(f))
	for k := range t {
		if _, ok := f[k]; !ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 && (absent(from) || absent(to)) {
		c.changes = append(c.changes, Change{Path: path, From: shown(from), To: shown(to)})
	}
	slices.Sort(keys)
	for _, k := range keys {
		c.compare(joinPath(path, k), lookup(f, k), lookup(t, k))
	}
}

func (c *comparison) compareList(path string, from, to any) {
	f, _ := from.([]any)
	t, _ := to.([]any)
	if len(f) == 0 && len(t) == 0 && (absent(from) || absent(to)) {
		c.changes = append(c.changes, Change{Path: path, From: shown(from), To: shown(to)})
	}
	for i := range max(len(f), len(t)) {
		c.compare(path+"["+strconv.Itoa(i)+"]", element(f, i), element(t, i))
	}
}

func lookup(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return missing{}
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return missing{}
}

func absent(v any) bool { _, ok := v.(missing); return ok }

func isMap(v any) bool { _, ok := v.(map[string]any); return ok }

func isList(v any) bool { _, ok := v.([]any); return ok }

func isSecret(v any) bool { _, ok := v.(commissioning.Secret); return ok }

var plainKey = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]*$`)

// joinPath renders "a.b", and ["a.b"] for a key that would not read as one.
func joinPath(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// equalValue compares two canonical values: numbers by value, symbols by what they name.
func equalValue(a, b any) bool {
	switch x := a.(type) {
	case commissioning.Secret:
		y, ok := b.(commissioning.Secret)
		return ok && equalValue(x.Value, y.Value)
	case commissioning.Symbol:
		y, ok := b.(commissioning.Symbol)
		return ok && slices.Equal(x.Parts, y.Parts)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, equalValue)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalValue)
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && equalNumber(x, y)
	}
	if _, ok := number(b); ok {
		return false
	}
	switch b.(type) {
	case commissioning.Secret, commissioning.Symbol, map[string]any, []any:
		return false
	}
	return a == b
}

// number returns a number's JSON text.
func number(v any) (string, bool) {
	switch n := v.(type) {
	case json.Number:
		return n.String(), true
	case int:
		return strconv.Itoa(n), true
	case int64:
		return strconv.FormatInt(n, 10), true
	case uint64:
		return strconv.FormatUint(n, 10), true
	case float64:
		return strconv.FormatFloat(n, 'g', -1, 64), true
	}
	return "", false
}

// equalNumber compares whole numbers digit by digit and others as float64.
func equalNumber(a, b string) bool {
	if a == b {
		return true
	}
	if !strings.ContainsAny(a+b, ".eE") {
		return strings.TrimPrefix(a, "+") == strings.TrimPrefix(b, "+")
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// shown is a value as a Change carries it: JSON, symbols as text, secrets masked, nil where
// the attribute is missing.
func shown(v any) any {
	switch x := v.(type) {
	case missing:
		return nil
	case commissioning.Secret:
		return sensitiveText
	case commissioning.Symbol:
		return symbolText(x)
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = shown(e)
		}
		return m
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = shown(e)
		}
		return list
	}
	return v
}

const sensitiveText = "(sensitive)"

func symbolText(s commissioning.Symbol) string {
	var b strings.Builder
	for _, p := range s.Parts {
		if p.Name == "" {
			b.WriteString(p.Text)
			continue
		}
		fmt.Fprintf(&b, "${%s}", p.Name)
	}
	return b.String()
}

// compareSet lists what is gone from and what is new in an unordered list.
func compareSet[T comparable](path string, from, to []T, text func(T) string) []Change {
	var changes []Change
	for _, v := range sortedBy(from, text) {
		if !slices.Contains(to, v) {
			changes = append(changes, Change{Path: path, From: text(v)})
		}
	}
	for _, v := range sortedBy(to, text) {
		if !slices.Contains(from, v) {
			changes = append(changes, Change{Path: path, To: text(v)})
		}
	}
	return changes
}

func sortedBy[T comparable](list []T, text func(T) string) []T {
	sorted := slices.SortedFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(text(a), text(b)) })
	return slices.Compact(sorted)
}
