package commissioning

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/millwright/millwright/internal/spec"
)

// lines is the source, to find where a node ends: the YAML library tells only where it begins.
type lines []string

// maxScanned is the longest line in which an end is looked for.
const maxScanned = 4096

// splitLines splits where YAML sees the end of a line, which is not only at line feeds.
func splitLines(src []byte) lines {
	if len(src) > maxBytes {
		return nil
	}
	all := string(src)
	if strings.ContainsAny(all, "\r\u0085\u2028\u2029") {
		all = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(all)
	}
	return strings.Split(all, "\n")
}

// cursor is a place in lines: the line counts from 0, offset is in bytes.
type cursor struct{ line, offset int }

func (l lines) position(file string, n *node) spec.Position {
	p := spec.Position{File: file, Line: n.line, Column: n.column, EndLine: n.line, EndColumn: n.column}
	if n.source == nil {
		return p
	}
	if end, ok := l.end(n.source, 0); ok && end.line < len(l) {
		line := l[end.line]
		column := utf8.RuneCountInString(line[:min(end.offset, len(line))]) + 1
		if end.line+1 > n.line || column > n.column {
			p.EndLine, p.EndColumn = end.line+1, column
		}
	}
	return p
}

// end finds the place behind a node's last character. It fails on lines too long to scan.
func (l lines) end(n *yaml.Node, depth int) (cursor, bool) {
	at, ok := l.start(n)
	if !ok || depth > maxDepth {
		return cursor{}, false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return l.endOfScalar(n, at), true
	case yaml.AliasNode:
		return cursor{at.line, at.offset + len(n.Value) + 1}, true
	case yaml.MappingNode, yaml.SequenceNode:
		return l.endOfCollection(n, at, depth)
	}
	return cursor{}, false
}

func (l lines) start(n *yaml.Node) (cursor, bool) {
	if n.Line < 1 || n.Line > len(l) || len(l[n.Line-1]) > maxScanned {
		return cursor{}, false
	}
	line, offset := l[n.Line-1], 0
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(line[offset:])
		offset += size
	}
	return l.skipProperties(cursor{n.Line - 1, offset}, n), true
}

// skipProperties steps over a tag and an anchor.
func (l lines) skipProperties(c cursor, n *yaml.Node) cursor {
	for n.Kind != yaml.AliasNode {
		rest := l[c.line][c.offset:]
		if !strings.HasPrefix(rest, "!") && !strings.HasPrefix(rest, "&") {
			break
		}
		word := strings.IndexAny(rest, " \t")
		if word < 0 {
			return cursor{c.line, len(l[c.line])}
		}
		c.offset += word + len(rest[word:]) - len(strings.TrimLeft(rest[word:], " \t"))
	}
	return c
}

func (l lines) endOfScalar(n *yaml.Node, at cursor) cursor {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return l.endOfQuoted(at, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return l.endOfQuoted(at, '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return l.endOfBlock(at)
	case strings.HasPrefix(l[at.line][at.offset:], n.Value):
		return cursor{at.line, at.offset + len(n.Value)}
	}
	return cursor{at.line, len(strings.TrimRight(l[at.line], " \t\r"))}
}

func (l lines) endOfQuoted(at cursor, quote byte) cursor {
	at.offset++
	for ; at.line < len(l); at = (cursor{at.line + 1, 0}) {
		for line := l[at.line]; at.offset < len(line); at.offset++ {
			switch {
			case quote == '"' && line[at.offset] == '\\':
				at.offset++
			case line[at.offset] != quote:
			case quote == '\'' && strings.HasPrefix(line[at.offset+1:], "'"):
				at.offset++
			default:
				return cursor{at.line, at.offset + 1}
			}
		}
	}
	return cursor{len(l) - 1, len(l[len(l)-1])}
}

// endOfBlock finds the last line of a block scalar: they are indented like the first.
func (l lines) endOfBlock(at cursor) cursor {
	last, indent := at.line, 0
	for i := at.line + 1; i < len(l); i++ {
		body := strings.TrimLeft(l[i], " ")
		if strings.TrimSpace(body) == "" {
			continue
		}
		if indent == 0 {
			indent = len(l[i]) - len(body)
		}
		if indent == 0 || len(l[i])-len(body) < indent {
			break
		}
		last = i
	}
	return cursor{last, len(strings.TrimRight(l[last], " \t\r"))}
}

func (l lines) endOfCollection(n *yaml.Node, at cursor, depth int) (cursor, bool) {
	end := at
	if len(n.Content) > 0 {
		last, ok := l.end(n.Content[len(n.Content)-1], depth+1)
		if !ok {
			return cursor{}, false
		}
		end = last
	} else if n.Style&yaml.FlowStyle != 0 {
		end.offset++
	}
	if n.Style&yaml.FlowStyle == 0 {
		return end, true
	}
	line := l[end.line]
	rest := line[min(end.offset, len(line)):]
	if trimmed := strings.TrimLeft(rest, " \t,"); strings.HasPrefix(trimmed, "]") || strings.HasPrefix(trimmed, "}") {
		end.offset += len(rest) - len(trimmed) + 1
	}
	return end, true
}
