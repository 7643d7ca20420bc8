package commissioning

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// globalPrefix is the normalised prefix of globals; files may write Millwright:: too.
const globalPrefix = "Cybus::"

const hidden = "(sensitive)"

// String renders the symbol as a file has it: "!ref Cybus::MqttHost", or text with ${names}.
func (s Symbol) String() string {
	if len(s.Parts) == 1 && s.Parts[0].Name != "" {
		return "!ref " + s.Parts[0].Name
	}
	return "!sub '" + s.template() + "'"
}

func (s Symbol) template() string {
	var b strings.Builder
	for _, p := range s.Parts {
		if p.Name != "" {
			b.WriteString("${" + p.Name + "}")
			continue
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// MarshalJSON renders {"$symbol": "..."}: no value of a file looks like it by accident, and
// digests and goldens stay readable.
func (s Symbol) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"$symbol": s.template()})
}

// Format prints "(sensitive)" for every verb.
func (Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, hidden) // a fmt.State takes everything
}

// String hides the value.
func (Secret) String() string { return hidden }

// LogValue hides the value in logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the value. Code that must have it looks into Value.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// Format prints the parameter as name=value, hiding what is sensitive.
func (p Parameter) Format(f fmt.State, _ rune) {
	value := p.Value
	if p.Sensitive {
		value = hidden
	}
	_, _ = fmt.Fprintf(f, "%s=%v", p.Name, value) // a fmt.State takes everything
}

// plain turns a resolved node into a tree of Go values, without wrapping secrets.
func (e *evaluator) plain(n *node, depth int) any { return e.tree(n, depth, false) }

// canonical does the same, with Secret around what must not be shown.
func (e *evaluator) canonical(n *node, depth int) any { return e.tree(n, depth, true) }

func (e *evaluator) tree(n *node, depth int, wrap bool) any {
	if n == nil || e.burst || !e.spend(n, 1, len(n.text)) {
		return nil
	}
	if depth > maxDepth {
		e.error(n, "too-deep", "", fmt.Sprintf("values are nested more than %d levels deep", maxDepth))
		return nil
	}
	switch n.kind {
	case list:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = e.tree(item, depth+1, wrap)
		}
		return out
	case object:
		out := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			out[f.name] = e.tree(f.value, depth+1, wrap)
		}
		return out
	}
	v := scalar(n)
	if wrap && n.secret && v != nil {
		return Secret{Value: v}
	}
	return v
}

// scalar gives the Go value of a node that is no list and no map.
func scalar(n *node) any {
	switch n.kind {
	case boolean:
		return n.flag
	case number:
		return json.Number(n.text)
	case text:
		return n.text
	case symbolic:
		return Symbol{Parts: n.parts}
	}
	return nil
}
