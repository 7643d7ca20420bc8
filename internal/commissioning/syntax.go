package commissioning

import (
	"regexp"
	"strconv"
	"strings"
)

const quotingHint = "quote text that holds \": \", \" #\", or begins with one of @ ` % & * ! | > [ {"

// syntaxHints tell what mostly lies behind a message of the YAML library.
var syntaxHints = []struct{ message, hint string }{
	{"second document", "keep one of them: remove what stands from --- on"},
	{"<document start>", "a file holds one document: remove what stands from ... on"},
	{"incompatible YAML", "remove the line that begins with %YAML"},
	{"tab character", "indent with spaces; YAML allows no tabs"},
	{"',' or '}'", "close the { with a }, and put a comma between its entries"},
	{"',' or ']'", "close the [ with a ], and put a comma between its items"},
	{"unexpected end of stream", "close the quote; within single quotes write '' for one"},
	{"expected key", "indent the keys of one map alike; within single quotes write '' for one"},
	{"'-' indicator", "indent the items of one list alike, each with a dash, and the next key less than them"},
	{"mapping values", "quote text that holds \": \", and indent the keys of one map alike"},
	{"expected ':'", "write key: value, with a blank behind the colon"},
	{"unknown anchor", "quote text that begins with *; an alias needs its anchor (&) further up"},
	{"escape character", "within double quotes write \\\\ for a backslash, or use single quotes"},
	{"block sequence entries", "begin the list on a line of its own, or write it as [a, b]"},
	{"node content", "quote text that begins with , ] or }"},
	{"control characters", "remove the character; text in double quotes may hold it as \\x01"},
}

func syntaxHint(message string) string {
	for _, h := range syntaxHints {
		if strings.Contains(message, h.message) {
			return h.hint
		}
	}
	return quotingHint
}

// maxSearched is the longest file that is read again to find the place of an error.
const maxSearched = 1 << 20

func size(all lines) int {
	total := 0
	for _, line := range all {
		total += len(line) + 1
	}
	return total
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxMessage splits an error of the YAML library; the line is 1 if there is none.
func syntaxMessage(err error) (line int, message string) {
	m := syntaxLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 1, err.Error()
	}
	line = 1
	if n, err := strconv.Atoi(m[1]); err == nil {
		line = max(n, 1)
	}
	return line, err.Error()[len(m[0]):]
}

// reportSyntax finds the place and a hint for an error of the YAML library.
func reportSyntax(r *reporter, err error) {
	line, message := syntaxMessage(err)
	if !strings.Contains(message, "second document") && size(r.lines) <= maxSearched {
		line = firstBadLine(r.lines, line, message)
	}
	at, hint := &node{line: min(line, len(r.lines)), column: 1}, syntaxHint(message)
	body := strings.TrimLeft(r.lines[at.line-1], " ")
	if strings.HasPrefix(body, "\t") {
		hint = syntaxHint("tab character")
	}
	at.column = len(r.lines[at.line-1]) - len(body) + 1
	r.error(at, "yaml-syntax", hint, "cannot read the YAML: "+message)
}

// firstBadLine finds the line with which the error begins. The library names the line where
// the map or list around it begins, or the one before that, so the lines behind are looked
// at: the error is in the last line without which it is not there.
func firstBadLine(all lines, reported int, message string) int {
	fails := func(count int) bool {
		_, err := decodeYAML([]byte(strings.Join(all[:count], "\n") + "\n"))
		if err == nil {
			return false
		}
		_, found := syntaxMessage(err)
		return found == message
	}
	good, bad := max(0, min(reported, len(all))-2), len(all)
	if fails(good) {
		good = 0
	}
	for bad-good > 1 {
		middle := good + (bad-good)/2
		if fails(middle) {
			bad = middle
		} else {
			good = middle
		}
	}
	return bad
}
