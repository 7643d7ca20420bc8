package control

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// LogRing is a slog.Handler that keeps the last records for GET /api/v1/logs and passes
// everything on. What it passes on, and keeps, must hold no secrets.
type LogRing struct {
	next  slog.Handler
	lines *ring[LogLine]
	with  []slog.Attr
	group string
}

// LogLine is one element of GET /api/v1/logs.
type LogLine struct {
	Time       time.Time      `json:"time"`
	Level      string         `json:"level"`
	Message    string         `json:"message"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

var _ slog.Handler = (*LogRing)(nil)

// NewLogRing keeps size records and passes everything on to next.
func NewLogRing(next slog.Handler, size int) *LogRing {
	return &LogRing{next: next, lines: newRing[LogLine](size)}
}

// Enabled follows the next handler.
func (r *LogRing) Enabled(ctx context.Context, level slog.Level) bool {
	return r.next.Enabled(ctx, level)
}

// Handle keeps the record and passes it on.
func (r *LogRing) Handle(ctx context.Context, record slog.Record) error {
	line := LogLine{Time: record.Time.UTC(), Level: record.Level.String(), Message: clip(record.Message), Attributes: map[string]any{}}
	for _, a := range r.with {
		addAttribute(line.Attributes, "", a)
	}
	record.Attrs(func(a slog.Attr) bool {
		addAttribute(line.Attributes, r.group, a)
		return true
	})
	r.lines.add(line)
	return r.next.Handle(ctx, record)
}

func addAttribute(to map[string]any, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			addAttribute(to, group, member)
		}
		return
	}
	switch v.Kind() {
	case slog.KindInt64, slog.KindUint64, slog.KindBool:
		to[group+a.Key] = v.Any()
	default:
		to[group+a.Key] = clip(v.String())
	}
}

// maxLogValue is how many bytes of one attribute, or of the message, are kept: records hold
// what comes from outside.
const maxLogValue = 1024

func clip(s string) string {
	if len(s) <= maxLogValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogValue], "") + "…" // a copy: the whole is let go
}

// WithAttrs implements slog.Handler.
func (r *LogRing) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *r
	c.next = r.next.WithAttrs(attrs)
	c.with = append([]slog.Attr{}, r.with...)
	for _, a := range attrs {
		if r.group != "" {
			a = slog.Attr{Key: r.group + a.Key, Value: a.Value}
		}
		c.with = append(c.with, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (r *LogRing) WithGroup(name string) slog.Handler {
	if name == "" {
		return r
	}
	c := *r
	c.next = r.next.WithGroup(name)
	c.group = r.group + name + "."
	return &c
}
