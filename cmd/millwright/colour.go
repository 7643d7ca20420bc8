package main

import "strings"

const reset = "\x1b[0m"

// paint colours the lines of a plan that begin with a symbol.
func paint(text string, colour bool) string {
	if !colour {
		return text
	}
	colours := map[string]string{"+": "\x1b[32m", "~": "\x1b[33m", "±": "\x1b[35m", "-": "\x1b[31m"}
	var b strings.Builder
	for line := range strings.Lines(text) {
		symbol, rest, _ := strings.Cut(line, " ")
		if code, ok := colours[symbol]; ok {
			line = code + symbol + reset + " " + rest
		}
		b.WriteString(line)
	}
	return b.String()
}
