package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// outputOption is the flag -o.
type outputOption struct {
	format  string
	allowed []string
}

func (o *outputOption) addFlag(f *pflag.FlagSet, allowed ...string) {
	o.allowed = allowed
	f.StringVarP(&o.format, "output", "o", allowed[0], "`form` of the output: "+strings.Join(allowed, ", "))
}

func (o *outputOption) check() error { return oneOf("--output", o.format, o.allowed...) }

// print writes v as JSON or YAML, or calls text.
func (o *outputOption) print(w io.Writer, v any, text func(io.Writer) error) error {
	switch o.format {
	case "json":
		return printJSON(w, v)
	case "yaml":
		return printYAML(w, v)
	}
	return text(w)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printYAML writes the JSON form of v in block style; numbers keep all their digits.
func printYAML(w io.Writer, v any) error {
	node, err := yamlNode(v)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return err
	}
	return e.Close()
}

// yamlNode is the JSON form of v in block style.
func yamlNode(v any) (*yaml.Node, error) {
	var text bytes.Buffer
	if err := printJSON(&text, v); err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &document); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write YAML: %w", err)
	}
	blockStyle(&document)
	return document.Content[0], nil
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// table writes aligned columns under a header.
func table(w io.Writer, header string, rows [][]string) error {
	return columns(w, append([][]string{strings.Fields(header)}, rows...))
}

// columns aligns cells. What they hold cannot break the lines.
func columns(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.ReplaceAll(printable(cell), "\t", " ")
		}
		if _, err := io.WriteString(t, strings.Join(cells, "\t")+"\n"); err != nil {
			return err
		}
	}
	return t.Flush()
}

// printable escapes what would break a line or command a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case isControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }

// moment writes a time to the second, "-" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// orDash stands for nothing in a column.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count writes "1 service", "2 services".
func count(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
