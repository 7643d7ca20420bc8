package commissioning

import (
	"github.com/millwright/millwright/internal/commissioning/shape"
	"github.com/millwright/millwright/internal/spec"
)

// Document is a YAML file of another kind, read with the same care: positions, duplicate
// keys, exact numbers, limits, and a check against a struct's tags. Unknown keys are errors.
type Document struct {
	Tree map[string]any // as Resource.Properties, without Symbol

	name  string
	root  *node
	lines lines
}

// ReadDocument reads src and checks it against the tags of a pointer to a struct. The
// Document is nil when src is not even a YAML map.
func ReadDocument(name string, src []byte, pointer any) (*Document, []spec.Diagnostic) {
	r := &reporter{name: name, lines: splitLines(src)}
	root := parseYAML(r, src)
	if root == nil {
		return nil, r.sorted()
	}
	e := newEvaluator(&File{Name: name, root: root, lines: r.lines}, Input{})
	e.reporter = r
	d := &Document{name: name, root: e.resolve(root), lines: r.lines}
	d.Tree = e.object(shape.Of(pointer), d.root, scope{closed: true})
	return d, r.sorted()
}

// At returns the place of a value: keys are strings, list indices ints. Where there is
// none it returns the place of the last value on the way.
func (d *Document) At(path ...any) spec.Position {
	n := d.root
	for _, step := range path {
		var next *node
		switch step := step.(type) {
		case string:
			next = n.get(step)
		case int:
			if step < len(n.items) {
				next = n.items[step]
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return d.lines.position(d.name, n)
}

// TopKeys lists the keys at the top of a YAML map, nil if src is none.
func TopKeys(src []byte) []string {
	return parseYAML(&reporter{lines: splitLines(src)}, src).names()
}
