package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// String renders the plan for people: one block a step, then deviations and a summary.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		s.print(&b)
	}
	if len(p.Steps) > 0 {
		b.WriteByte('\n')
	}
	p.printNotes(&b)
	b.WriteString(p.Summary())
	b.WriteByte('\n')
	return b.String()
}

// Summary is the plan's last line.
func (p Plan) Summary() string {
	if p.Empty() {
		return "No changes."
	}
	c := p.Counts()
	return fmt.Sprintf("Plan: %d to add, %d to change, %d to delete. %s", c.Create, c.Update, c.Delete, p.disturbs())
}

// disturbs sums up what falls silent, and for how long.
func (p Plan) disturbs() string {
	most := p.MaxDisturbance()
	if most == DisturbsNone {
		return "Disturbs nothing."
	}
	var topics []string
	var seconds float64
	for _, s := range p.Steps {
		topics = append(topics, s.Stops...)
		seconds = max(seconds, s.Seconds)
	}
	topics = sortedSet(topics)
	return fmt.Sprintf("Disturbs: %s%s.", most, parenthesised(silence(topics, seconds)))
}

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// silence renders "services/press/temp, ~1 s".
func silence(topics []string, seconds float64) string {
	var parts []string
	if len(topics) > 0 {
		parts = append(parts, listing(topics, 3))
	}
	if seconds > 0 {
		parts = append(parts, fmt.Sprintf("~%g s", seconds))
	}
	return strings.Join(parts, ", ")
}

func (s Step) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s%s: %s", s.Symbol, s.Address, s.outline(), s.Cause)
	if s.Result != "" {
		fmt.Fprintf(b, " [%s]", s.Result)
	}
	b.WriteByte('\n')
	if s.Error != "" {
		fmt.Fprintf(b, "    error: %s\n", s.Error)
	}
	if s.Unsupported != "" {
		fmt.Fprintf(b, "    unsupported: %s\n", s.Unsupported)
	}
	if s.Symbol == Update || s.Symbol == Replace || strings.Count(s.Address, "/") == 1 && s.Symbol == Create {
		for _, c := range s.Changes {
			fmt.Fprintf(b, "    %s: %s\n", c.Path, c.text())
		}
	}
	if s.Disturbs != DisturbsNone && s.Disturbs != "" {
		fmt.Fprintf(b, "    disturbs the %s%s\n", s.Disturbs, parenthesised(silence(s.Stops, s.Seconds)))
	}
}

// outline tells a new resource apart in few words; its attributes are in the JSON form.
func (s Step) outline() string {
	if s.Symbol != Create || strings.Count(s.Address, "/") == 1 {
		return ""
	}
	words := make([]string, 0, 3)
	for _, path := range []string{"protocol", "connection.host", "topic", "image"} {
		for _, c := range s.Changes {
			if c.Path == path && !c.Sensitive {
				words = append(words, fmt.Sprint(c.To))
			}
		}
	}
	return parenthesised(strings.Join(words, " "))
}

// text renders "1000 → 500", "+ 500", "- 1000", "(sensitive, changed)".
func (c Change) text() string {
	switch {
	case c.NotCompared:
		return "(sensitive, not compared)"
	case c.Sensitive:
		return "(sensitive, changed)"
	case c.From == nil:
		return "+ " + valueText(c.To)
	case c.To == nil:
		return "- " + valueText(c.From)
	}
	return valueText(c.From) + " → " + valueText(c.To)
}

// valueText renders a value as JSON, on one line and not endlessly.
func valueText(v any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(v))
	}
	const most = 200
	text := []rune(strings.TrimSpace(b.String()))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

func (p Plan) printNotes(b *strings.Builder) {
	for _, d := range p.Diagnostics {
		fmt.Fprintf(b, "%s\n", d)
	}
	for _, d := range p.Deviations {
		fmt.Fprintf(b, "deviated: %s is %s", d.Address, d.State)
		if d.Error != "" {
			fmt.Fprintf(b, ": %s", d.Error)
		}
		b.WriteByte('\n')
	}
}
