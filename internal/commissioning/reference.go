package commissioning

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

const referenceHead = `# The commissioning file

<!-- Generated from the Go structs in internal/commissioning by "make generate"; do not edit. -->

One YAML file describes one service: its connections to machines, the endpoints that are read or written on them, and
how their data is mapped to topics. ` + "`millwright validate FILE`" + ` checks it; ` + "`millwright schema`" + ` prints its JSON Schema for editors.

## Top level

| key | meaning |
|---|---|
| ` + "`description`" + ` | What the service does. A warning where it is missing. |
| ` + "`metadata`" + ` | ` + "`name`" + ` (the service's id is made from it), ` + "`version`, `icon`, `provider`, `homepage`" + `, and any other key. |
| ` + "`parameters`" + ` | Values that are asked for when the service is installed, each a JSON Schema with a ` + "`default`" + `. ` + "`format: password` or `sensitive: true`" + ` makes one a secret. |
| ` + "`definitions`" + ` | Values that are given once and used by name. |
| ` + "`resources`" + ` | Needed. Resource id to ` + "`{type, properties, dependsOn}`" + `. Ids begin with a letter or digit; then letters, digits, ` + "`_` and `.`" + `. |

## Tags

| tag | meaning |
|---|---|
| ` + "`!ref NAME`" + ` | The whole value of a parameter, a definition, a resource, a global, or ` + "`otherService::resource`" + `. |
| ` + "`!sub 'text ${NAME}'`" + ` | Text in which each ` + "`${NAME}`" + ` is replaced. Text without the tag is left alone. |
| ` + "`!merge [a, b]`" + ` | Maps merged from left to right, the later one wins; lists behind each other. |

A reference to a Container or Volume reads ` + "`<serviceId>-<resourceId>`" + `, to an Endpoint or Node its topic, to anything else its id.
References and ` + "`dependsOn`" + ` order the resources; a circle is an error.

Globals, also with the prefix ` + "`Millwright::`" + `: %s.

## Resource types

A type is written ` + "`Cybus::NAME` or `Millwright::NAME`" + `. In the tables, *needed* keys have no default; of keys marked with the same
letter exactly one is needed.
`

// ReferencePage writes the reference of the commissioning file, in Markdown.
func ReferencePage() []byte {
	var b bytes.Buffer
	var names []string
	for _, g := range globals {
		names = append(names, "`"+globalPrefix+g+"`")
	}
	fmt.Fprintf(&b, referenceHead, strings.Join(names, ", "))
	for _, t := range resourceTypes {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", t.name, markdown.Replace(t.doc))
		if !t.runnable {
			b.WriteString("This build checks it and cannot run it yet.\n")
		}
		referenceTable(&b, t.shape, "")
	}
	fmt.Fprintf(&b, "\n## Rules\n\nAn ordered list; each entry has one key. A message passes them one after the other.\n")
	for i := range ruleShape.Fields {
		f := &ruleShape.Fields[i]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", f.Name, markdown.Replace(f.Doc))
		referenceTable(&b, f.Shape, "")
	}
	b.WriteString("\n## Protocols\n\nA protocol's name is matched in any case.\n")
	for _, s := range protocol.All {
		p := protocols[strings.ToLower(s.Name)]
		fmt.Fprintf(&b, "\n### %s\n\nEndpoints: `%s`.\n\n`connection`:\n", s.Name, strings.Join(s.Operations, "`, `"))
		referenceTable(&b, p.connection, "")
		b.WriteString("\nAddress:\n")
		referenceTable(&b, p.address, "")
	}
	fmt.Fprintf(&b, "\nFiles that name one of these validate, and installing them says that the protocol is missing: %s.\n", strings.Join(protocol.Later, ", "))
	return b.Bytes()
}

// ReferenceTable writes a table of the keys of a pointer to a tagged struct, in Markdown. Types
// name those of the formats that no Go type describes.
func ReferenceTable(pointer any, types map[string]string) []byte {
	var b bytes.Buffer
	s := shape.Of(pointer)
	named(s, types)
	referenceTable(&b, s, "")
	return b.Bytes()
}

// named gives each field whose format has a name that name as its type.
func named(s *shape.Shape, types map[string]string) {
	if s == nil {
		return
	}
	named(s.Elem, types)
	for i := range s.Fields {
		f := &s.Fields[i]
		named(f.Shape, types)
		if name, ok := types[f.Format]; ok && f.Format != "" {
			f.Shape, f.Format = &shape.Shape{Type: shape.Type(name), Elem: &shape.Shape{Type: shape.Any}}, ""
		}
	}
}

// referenceTable writes one row for each key, those of objects below their own.
func referenceTable(b *bytes.Buffer, s *shape.Shape, prefix string) {
	if prefix == "" {
		if len(s.Fields) == 0 {
			return
		}
		b.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, f.Name, referenceType(f), referenceDefault(f), referenceMeaning(f))
		below, suffix := f.Shape, "."
		switch below.Type {
		case shape.List:
			below, suffix = below.Elem, "[]."
		case shape.Map:
			below, suffix = below.Elem, ".NAME."
		}
		if below.Type == shape.Object && f.Name != "rules" {
			referenceTable(b, below, prefix+f.Name+suffix)
		}
	}
}

func referenceType(f *shape.Field) string {
	t := string(f.Shape.Type)
	switch f.Shape.Type {
	case shape.List:
		t = "list"
	case shape.Object:
		t = "map"
	}
	if f.Unit != "" {
		t += ", " + f.Unit
	}
	return t
}

func referenceDefault(f *shape.Field) string {
	switch {
	case f.Required:
		return "*needed*"
	case f.Xor != "":
		return "*needed (" + f.Xor[:1] + ")*"
	case f.HasDefault && f.Default == "{}":
		return ""
	case f.HasDefault && f.Default == "":
		return "empty"
	case f.HasDefault:
		return "`" + f.Default + "`"
	}
	var parts []string
	for _, c := range f.DefaultBy.Values {
		if c.Then != "{}" {
			parts = append(parts, fmt.Sprintf("`%s` (%s)", c.Then, c.When))
		}
	}
	return strings.Join(parts, ", ")
}

// markdown keeps text from being taken for a table's border or a tag.
var markdown = strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;")

func referenceMeaning(f *shape.Field) string {
	parts := []string{f.Doc}
	if len(f.Enum) > 0 {
		parts = append(parts, "One of `"+strings.Join(f.Enum, "`, `")+"`.")
	}
	switch {
	case f.Minimum != nil && f.Maximum != nil:
		parts = append(parts, fmt.Sprintf("From %s to %s.", formatFloat(*f.Minimum), formatFloat(*f.Maximum)))
	case f.Minimum != nil:
		parts = append(parts, fmt.Sprintf("At least %s.", formatFloat(*f.Minimum)))
	}
	if len(f.Operations) > 0 {
		parts = append(parts, "Only for "+strings.Join(f.Operations, ", ")+".")
	}
	if len(f.Aliases) > 0 {
		parts = append(parts, "Also `"+strings.Join(f.Aliases, "`, `")+"`.")
	}
	if f.Sensitive {
		parts = append(parts, "Secret.")
	}
	if f.SecretKeys {
		parts = append(parts, "Entries whose names sound secret are.")
	}
	return markdown.Replace(strings.Join(parts, " "))
}
