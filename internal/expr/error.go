package expr

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Error says why an expression cannot be compiled.
type Error struct {
	Message string // lower case, no full stop
	Code    string // JSONata's own code, such as "S0201"; may be empty
	Offset  int    // of the fault in the source, in characters from 0; -1 if not known
}

// Error returns the message with the position, counted from 1, and the code.
func (e *Error) Error() string {
	s := e.Message
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at character %d", e.Offset+1)
	}
	if e.Code != "" {
		s += " (JSONata " + e.Code + ")"
	}
	return s
}

var parserMessage = regexp.MustCompile(`(?s)^JSONata error ([A-Z][0-9]+)(?: at token ("(?:[^"\\]|\\.)*"))?: (.*)$`)

// compileError puts the parser's error into words. The parser names the token that it fell
// over but not where that is; a token that occurs once in the source gives its place away.
func compileError(source string, err error) *Error {
	m := parserMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return &Error{Message: err.Error(), Offset: -1}
	}
	e := &Error{Message: m[3], Code: m[1], Offset: -1}
	var token string
	if _, err := fmt.Sscanf(m[2], "%q", &token); err != nil {
		return e
	}
	if token == "EOF" || token == "" {
		e.Offset = utf8.RuneCountInString(source)
		if !strings.Contains(e.Message, "end") {
			e.Message = "unexpected end of expression"
		}
		return e
	}
	if strings.Count(source, token) == 1 {
		e.Offset = utf8.RuneCountInString(source[:strings.Index(source, token)])
	}
	if strings.HasPrefix(e.Message, "expected token ") { // numbers of token types tell nobody anything
		e.Message = "unexpected token"
	}
	if !strings.Contains(e.Message, token) {
		e.Message += fmt.Sprintf(" %q", token)
	}
	return e
}
