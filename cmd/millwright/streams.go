package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// streams are a command's ways in and out.
type streams struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
}

func systemStreams() *streams {
	return &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
}

// note tells the user something beside the output. Where even that cannot be written there
// is nobody left to tell.
func (s *streams) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.err, format, args...)
}

// isTerminal reports whether a person is at the other end of a reader or writer.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// colour reports whether the output is to be coloured.
func (s *streams) colour(g *globalOptions) bool {
	return !g.noColor && s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb" && isTerminal(s.out)
}

// logger writes what is at least of the level, and with -v everything, to the error stream.
func (s *streams) logger(g *globalOptions, level slog.Level) *slog.Logger {
	if g.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if g.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(s.err, options))
	}
	return slog.New(slog.NewTextHandler(s.err, options))
}

// levelWarn is what commands log that a person waits for; -v shows more.
const levelWarn = slog.LevelWarn
