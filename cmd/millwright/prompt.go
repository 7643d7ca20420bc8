package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/millwright/millwright/internal/spec"
)

// longestLine bounds what is read of a line.
const longestLine = 4096

// errInterrupted ends a question that was answered with Ctrl-C.
var errInterrupted = &spec.Error{Kind: spec.Unavailable, Message: "interrupted", Cause: context.Canceled}

// waitFor returns what read returns, or an error as soon as ctx ends. A read that waits for
// a person cannot be called off: it ends with the process, which has no more to do by then.
func waitFor(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", errInterrupted
	}
}

// ask asks a person for a line.
func ask(ctx context.Context, s *streams, question string) (string, error) {
	s.note("%s", question)
	return waitFor(ctx, func() (string, error) { return firstLine(s.in) })
}

// askSecret asks for a line that is not shown.
func askSecret(ctx context.Context, s *streams, terminal *os.File, question string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", spec.Errorf(spec.Invalid, "cannot ask for the password: %w", err)
	}
	s.note("%s", question)
	defer s.note("\n")
	text, err := waitFor(ctx, func() (string, error) {
		line, err := term.ReadPassword(fd)
		return string(line), err
	})
	return text, errors.Join(err, term.Restore(fd, before))
}

// firstLine reads one line, which must not be empty, and perhaps more.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, longestLine)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line != "" {
		return line, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("nothing was given")
	}
	return "", spec.Errorf(spec.Invalid, "cannot read an answer: %w", err)
}

// confirm asks whether to go on; anything but yes ends the command. Without a terminal only
// --yes goes on.
func confirm(ctx context.Context, s *streams, yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(s.in) {
		return spec.Errorf(spec.Invalid, "cannot ask for consent: standard input is no terminal").
			WithHint("read the plan, then add --yes")
	}
	answer, err := ask(ctx, s, question+" Only \"yes\" goes on: ")
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return spec.Errorf(spec.Conflict, "stopped: nothing was changed")
	}
	return nil
}

// readAll reads what standard input holds, up to a bound in bytes.
func readAll(r io.Reader, what string, most int64) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return "", spec.Errorf(spec.Invalid, "cannot read %s: %w", what, err)
	}
	if int64(len(text)) > most {
		return "", spec.Errorf(spec.Invalid, "cannot read %s: it has more than %d bytes", what, most)
	}
	return string(text), nil
}
