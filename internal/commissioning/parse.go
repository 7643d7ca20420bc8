package commissioning

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// Bounds on what a file may hold; past them it is refused, never slowly read.
const (
	maxBytes  = 16 << 20
	maxDepth  = 100
	maxDigits = 400
)

// Parse reads one file. The File is nil when src is not even a YAML map. It never panics.
// Its diagnostics concern the file's form; Evaluate adds those about its meaning.
func Parse(name string, src []byte) (*File, []spec.Diagnostic) {
	r := &reporter{name: name, lines: splitLines(src)}
	root := parseYAML(r, src)
	if root == nil {
		return nil, r.sorted()
	}
	f := &File{Name: name, root: root, lines: r.lines}
	if d := root.get("description"); d != nil && d.kind == text && d.tag == "" {
		f.Description = d.text
	}
	if n := root.get("metadata").get("name"); n != nil && n.tag == "" && (n.kind == text || n.kind == number) {
		f.DefaultID = deriveID(n.text)
	}
	checkTop(r, root)
	return f, r.sorted()
}

// parseYAML returns the map at the top of the document, nil with a diagnostic if there is none.
func parseYAML(r *reporter, src []byte) *node {
	if len(src) > maxBytes {
		r.error(nil, "too-large", "split the service into several", fmt.Sprintf("the file has %d bytes; at most %d are read", len(src), maxBytes))
		return nil
	}
	if n := invalidUTF8(r.lines); n != nil {
		r.error(n, "yaml-syntax", "save the file as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	document, err := decodeYAML(src)
	if err != nil {
		reportSyntax(r, err)
		return nil
	}
	if document.Kind == 0 || len(document.Content) == 0 {
		r.error(&node{line: 1, column: 1}, "empty-file", "", "the file is empty")
		return nil
	}
	c := converter{r: r, done: map[*yaml.Node]*node{}, open: map[*yaml.Node]bool{}}
	root := c.convert(document.Content[0], 0)
	if root.kind != object {
		r.error(root, "not-a-map", "", fmt.Sprintf("the file holds a %s, not a map", root.kind))
		return nil
	}
	return root
}

// decodeYAML reads exactly one document. The library's panics become errors.
func decodeYAML(src []byte) (document yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: cannot be read: %v", p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return document, err
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return document, fmt.Errorf("yaml: line %d: a second document begins; a file holds one", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return document, err
	}
	return document, nil
}

func invalidUTF8(ls lines) *node {
	for i, line := range ls {
		if utf8.ValidString(line) {
			continue
		}
		for column, offset := 1, 0; offset < len(line); column++ {
			c, size := utf8.DecodeRuneInString(line[offset:])
			if c == utf8.RuneError && size == 1 {
				return &node{line: i + 1, column: column}
			}
			offset += size
		}
	}
	return nil
}

// converter turns the library's nodes into ours: aliases and merge keys are resolved
// (aliased nodes are shared, not copied), numbers made exact, duplicates reported.
type converter struct {
	r    *reporter
	done map[*yaml.Node]*node
	open map[*yaml.Node]bool // being converted: an alias to one of these is a loop
}

func (c *converter) convert(y *yaml.Node, depth int) *node {
	if n, ok := c.done[y]; ok {
		return n
	}
	at := &node{line: y.Line, column: y.Column, source: y}
	if c.open[y] {
		c.r.error(at, "cycle", "", "the anchor contains an alias to itself")
		return at
	}
	if depth > maxDepth {
		c.r.error(at, "too-deep", "", fmt.Sprintf("values are nested more than %d levels deep", maxDepth))
		return at
	}
	c.open[y] = true
	n := c.build(y, at, depth)
	delete(c.open, y)
	c.done[y] = n
	return n
}

func (c *converter) build(y *yaml.Node, n *node, depth int) *node {
	switch y.Kind {
	case yaml.AliasNode:
		return c.convert(y.Alias, depth+1)
	case yaml.SequenceNode:
		n.kind = list
		for _, item := range y.Content {
			n.items = append(n.items, c.convert(item, depth+1))
		}
	case yaml.MappingNode:
		n.kind = object
		c.fields(y, n, depth)
	default:
		c.scalar(y, n)
	}
	c.tag(y, n)
	return n
}

func (c *converter) fields(y *yaml.Node, n *node, depth int) {
	seen := map[string]*node{}
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		if y.Content[i].Tag == "!!merge" {
			merged = append(merged, c.convert(y.Content[i+1], depth+1))
			continue
		}
		key := c.convert(y.Content[i], depth+1)
		name, ok := c.keyName(key)
		if !ok {
			continue
		}
		if first := seen[name]; first != nil {
			c.r.error(key, "duplicate-key", "remove one of them", fmt.Sprintf("key %q is already given in line %d", name, first.line))
			continue
		}
		seen[name] = key
		n.fields = append(n.fields, field{name: name, key: key, value: c.convert(y.Content[i+1], depth+1)})
	}
	for _, m := range merged {
		c.merge(n, m, seen)
	}
}

func (c *converter) keyName(key *node) (string, bool) {
	if key.tag != "" || key.kind == list || key.kind == object {
		c.r.error(key, "bad-key", "", "a key must be plain text")
		return "", false
	}
	if key.kind == boolean || key.kind == null {
		return key.source.Value, true
	}
	return key.text, true
}

// merge takes over what a merge key ("<<") names and n does not have.
func (c *converter) merge(n, m *node, seen map[string]*node) {
	sources := []*node{m}
	if m.kind == list && m.tag == "" {
		sources = m.items
	}
	for _, s := range sources {
		if s.kind != object || s.tag != "" {
			c.r.error(s, "wrong-type", "use !merge for maps that are referred to", "a merge key (<<) takes a map or a list of maps")
			continue
		}
		for _, f := range s.fields {
			if seen[f.name] == nil {
				seen[f.name] = f.key
				n.fields = append(n.fields, f)
			}
		}
	}
}

func (c *converter) scalar(y *yaml.Node, n *node) {
	n.kind, n.text = text, y.Value
	switch y.ShortTag() {
	case "!!null":
		n.kind, n.text = null, ""
	case "!!bool":
		n.kind, n.flag = boolean, strings.EqualFold(y.Value, "true")
		if !n.flag && !strings.EqualFold(y.Value, "false") {
			c.r.error(n, "wrong-type", "write true or false", fmt.Sprintf("%q is no boolean", y.Value))
		}
	case "!!int", "!!float":
		n.kind = number
		digits, ok := canonicalNumber(y.Value)
		if !ok {
			c.r.error(n, "bad-number", "quote it if it is text", fmt.Sprintf("%q is no number that JSON can hold", n.shown()))
			digits = "0"
		}
		n.text = digits
	}
}

var knownTags = []string{"!ref", "!sub", "!merge"}

func (c *converter) tag(y *yaml.Node, n *node) {
	if y.Style&yaml.TaggedStyle == 0 || strings.HasPrefix(y.ShortTag(), "!!") {
		return
	}
	switch y.Tag {
	case "!ref", "!sub":
		n.tag = y.Tag[1:]
		if y.Kind != yaml.ScalarNode {
			c.r.error(n, "wrong-type", "", fmt.Sprintf("%s takes text, not a %s", y.Tag, n.kind))
			n.tag = ""
		}
	case "!merge":
		n.tag = "merge"
		if n.kind != list {
			c.r.error(n, "wrong-type", "write !merge [a, b]", "!merge takes a list")
			n.tag = ""
		}
	case "!":
	default:
		c.r.error(n, "unknown-tag", didYouMean(y.Tag, knownTags), fmt.Sprintf("unknown tag %q", y.Tag))
	}
}

// deriveID makes a service id from metadata.name: lower case, without what an id cannot have.
func deriveID(name string) string {
	id := strings.Map(func(c rune) rune {
		c = unicode.ToLower(c)
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' {
			return c
		}
		return -1
	}, name)
	return strings.TrimLeft(id, "_.")
}
