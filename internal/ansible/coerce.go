package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// coerce turns a value into the option's type as Ansible's own modules do: "k=v" arguments
// and templates give text where a number or a list is meant, and the other way round. What
// is returned is string, bool, int64, float64, []any or map[string]any.
func coerce(v any, t Type) (any, error) {
	switch t {
	case Bool:
		return toBool(v)
	case Int:
		return toInt(v)
	case Real:
		return toReal(v)
	case List:
		return toList(v)
	case Dict:
		return toDict(v)
	case Path:
		text, err := toText(v)
		if err != nil {
			return nil, err
		}
		return expandPath(text)
	}
	return toText(v)
}

func toText(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case json.Number:
		return x.String(), nil
	case bool: // as Python writes them
		if x {
			return "True", nil
		}
		return "False", nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", conversionError(v, Str)
	}
	return strings.TrimSpace(b.String()), nil
}

func toBool(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	text, err := toText(v)
	if err != nil {
		return false, conversionError(v, Bool)
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes", "on", "1", "true", "t", "1.0":
		return true, nil
	case "n", "no", "off", "0", "false", "f", "0.0":
		return false, nil
	}
	return false, fmt.Errorf("The value '%s' is not a valid boolean. Valid booleans include: 'yes', 'no', 'true', 'false', 'on', 'off', 1, 0", text) //nolint:staticcheck // Ansible's own words
}

func toInt(v any) (int64, error) {
	text := ""
	switch x := v.(type) {
	case string:
		text = strings.TrimSpace(x)
	case json.Number:
		text = x.String()
	}
	exact, ok := new(big.Rat).SetString(text)
	if !ok || len(text) > 40 || strings.Contains(text, "/") || !exact.IsInt() || !exact.Num().IsInt64() {
		return 0, conversionError(v, Int)
	}
	return exact.Num().Int64(), nil
}

func toReal(v any) (float64, error) {
	text := ""
	switch x := v.(type) {
	case string:
		text = strings.TrimSpace(x)
	case json.Number:
		text = x.String()
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(number, 0) || math.IsNaN(number) {
		return 0, conversionError(v, Real)
	}
	return number, nil
}

func toList(v any) ([]any, error) {
	switch x := v.(type) {
	case []any:
		return x, nil
	case string:
		list := []any{}
		for _, part := range strings.Split(x, ",") {
			list = append(list, strings.TrimSpace(part))
		}
		return list, nil
	case json.Number:
		return []any{x.String()}, nil
	case map[string]any: // one entry, without its dash
		return []any{x}, nil
	}
	return nil, conversionError(v, List)
}

func toDict(v any) (map[string]any, error) {
	switch x := v.(type) {
	case map[string]any:
		return x, nil
	case string:
		text := strings.TrimSpace(x)
		if strings.HasPrefix(text, "{") {
			return objectIn(text)
		}
		if strings.Contains(text, "=") {
			return pairs(text)
		}
	}
	return nil, conversionError(v, Dict)
}

// objectIn reads a JSON object, or what Python prints of a dict: YAML but for its None.
func objectIn(text string) (map[string]any, error) {
	if m, err := decodeObject([]byte(text)); err == nil {
		return m, nil
	}
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return nil, conversionError(text, Dict)
	}
	m, ok := literal(node.Content[0]).(map[string]any)
	if !ok {
		return nil, conversionError(text, Dict)
	}
	return m, nil
}

// literal turns YAML into JSON's types; what they have no word for becomes text.
func literal(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = literal(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, e := range n.Content {
			list = append(list, literal(e))
		}
		return list
	}
	switch {
	case n.ShortTag() == "!!null", n.Style == 0 && n.Value == "None":
		return nil
	case n.ShortTag() == "!!bool":
		return strings.EqualFold(n.Value, "true")
	case json.Valid([]byte(n.Value)) && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float"):
		return json.Number(n.Value)
	}
	return n.Value
}

// pairs reads "a=1, b='x y' c=3"; values are text.
func pairs(text string) (map[string]any, error) {
	m := map[string]any{}
	var field strings.Builder
	var quote rune
	add := func() error {
		if field.Len() == 0 {
			return nil
		}
		name, value, found := strings.Cut(field.String(), "=")
		if !found || name == "" {
			return conversionError(text, Dict)
		}
		m[name] = value
		field.Reset()
		return nil
	}
	for _, r := range text {
		switch {
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == r:
			quote = 0
		case quote == 0 && (r == ',' || unicode.IsSpace(r)):
			if err := add(); err != nil {
				return nil, err
			}
		default:
			field.WriteRune(r)
		}
	}
	return m, add()
}

// expandPath expands environment variables, and ~ at the beginning.
func expandPath(text string) (string, error) {
	text = os.Expand(text, func(name string) string {
		if value, ok := os.LookupEnv(name); ok {
			return value
		}
		return "$" + name
	})
	if text != "~" && !strings.HasPrefix(text, "~/") {
		return text, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot expand %q: %w", text, err)
	}
	return filepath.Join(home, text[1:]), nil
}

// conversionError is worded as Ansible does it; the value itself may be a secret and is not told.
func conversionError(v any, t Type) error {
	return fmt.Errorf("%s cannot be converted to %s", article(kindOf(v)), article(string(t)))
}

func article(noun string) string {
	if slices.Contains([]string{"int", "array"}, noun) {
		return "an " + noun
	}
	return "a " + noun
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "str"
	case bool:
		return "bool"
	case json.Number:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "dict"
	}
	return fmt.Sprintf("%T", v)
}

// decodeObject reads one JSON object; numbers keep all their digits.
func decodeObject(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("it is no object")
	}
	return m, nil
}
