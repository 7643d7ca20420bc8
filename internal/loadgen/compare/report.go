package compare

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Line is one line of the table.
type Line struct {
	Load      string  `json:"load"`
	Unit      string  `json:"unit"`
	Ours      float64 `json:"ours"`
	Mosquitto float64 `json:"mosquitto"` // 0: not measured
	NATS      float64 `json:"nats"`      // 0: not measured
	Ratio     string  `json:"ratio"`
	Goal      string  `json:"goal"`
	Met       bool    `json:"met"`
}

// judge holds our figure against the goals of the row.
func judge(l *load, r *row, measured []*Measured) Line {
	line := Line{
		Load: r.name, Unit: l.unit, Met: true,
		Ours:      best(l.less, measured, func(e entry) bool { return e == r.ours }),
		Mosquitto: best(l.less, measured, func(e entry) bool { return e.Contender == mosquitto || e.Contender == mosquittoTuned }),
		NATS:      best(l.less, measured, func(e entry) bool { return e.Contender == natsServer }),
	}
	var ratios, goals []string
	for _, g := range r.goals {
		figure, text := line.Ours, number(g.bound)+" "+l.unit
		if g.against != "" {
			other := line.Mosquitto
			if g.against == natsServer {
				other = line.NATS
			}
			text = number(g.bound) + " × " + g.against
			figure = 0
			if other > 0 {
				figure = line.Ours / other
				ratios = append(ratios, fmt.Sprintf("%.2f × %s", figure, g.against))
			}
		}
		met := figure >= g.bound
		if l.less {
			text, met = "≤ "+text, figure <= g.bound
		} else {
			text = "≥ " + text
		}
		line.Met = line.Met && met && line.Ours > 0 && figure > 0
		goals = append(goals, text)
	}
	if broken(r.ours, measured) {
		line.Met = false
	}
	line.Ratio, line.Goal = strings.Join(ratios, ", "), strings.Join(goals, ", ")
	return line
}

// best returns the best median of those that count; 0 where there is none.
func best(less bool, measured []*Measured, counts func(entry) bool) float64 {
	var medians []float64
	for _, m := range measured {
		if counts(m.entry) && m.Median > 0 {
			medians = append(medians, m.Median)
		}
	}
	switch {
	case len(medians) == 0:
		return 0
	case less:
		return slices.Min(medians)
	}
	return slices.Max(medians)
}

// broken reports whether the entry failed or broke a promise in any round.
func broken(e entry, measured []*Measured) bool {
	for _, m := range measured {
		if m.entry == e && slices.ContainsFunc(m.Samples, func(s Sample) bool { return s.Failure != "" || len(s.Broken) > 0 }) {
			return true
		}
	}
	return false
}

// Print writes the report in Markdown.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s synced writes a second; %s; median of %d rounds.\nCPU is in percent of one core; \"others\" is what the machine did beside.\n\n", r.Machine, number(r.Syncs), strings.Join(r.Versions, ", "), r.Rounds)
	fmt.Fprintln(w, "| load | ours | mosquitto | NATS | ratio | goal | met |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	for _, l := range r.Lines {
		met := "**no**"
		if l.Met {
			met = "yes"
		}
		fmt.Fprintf(w, "| %s | %s %s | %s | %s | %s | %s | %s |\n", l.Load, orNone(l.Ours), l.Unit,
			orNone(l.Mosquitto), orNone(l.NATS), cmp.Or(l.Ratio, "—"), l.Goal, met)
	}
	fmt.Fprintln(w)
	for _, m := range r.Measured {
		fmt.Fprintf(w, "- %s, %s: %s\n", m.Load, m.name(), m.notes())
	}
	for _, m := range r.Measured {
		for i, s := range m.Samples {
			for _, b := range s.Broken {
				fmt.Fprintf(w, "\n!!! %s, %s, round %d: %s\n", m.Load, m.name(), i+1, b)
			}
		}
	}
}

// notes says what else was seen, of all rounds.
func (m *Measured) notes() string {
	var parts []string
	for _, s := range m.Samples {
		parts = append(parts, s.text(m.Unit))
	}
	return strings.Join(parts, "; ")
}

// text is one sample in a line.
func (s Sample) text(unit string) string {
	if s.Failure != "" {
		return "failed: " + s.Failure
	}
	out := number(s.Value) + " " + unit
	if l := s.Load; l != nil {
		out += fmt.Sprintf(" (p50 %.2f ms, p99 %.2f ms, CPU %.0f %%, generator %.0f %%, others %.0f %%",
			l.Latency.P50, l.Latency.P99, l.ServerCPU, l.GeneratorCPU, l.OthersCPU)
		if l.Missing > 0 {
			out += fmt.Sprintf(", %.1f %% not delivered by the end", 100*float64(l.Missing)/float64(l.Missing+l.Delivered))
		}
		if l.Reconnects > 0 {
			out += fmt.Sprintf(", subscribers cut off %d times", l.Reconnects)
		}
		out += ")"
	}
	if r := s.Restart; r != nil {
		out += fmt.Sprintf(" (port open after %.2f s; first message %.3f s after the subscriber's return, all after %.1f s; %s delivered, filled at %s/s)",
			r.Listening.Accepting.Seconds(), r.First.Seconds(), r.All.Seconds(), count(int(r.Collected.Delivered)), number(r.Filled))
	}
	if len(s.Broken) > 0 {
		out += " !!! " + strings.Join(s.Broken, "; ")
	}
	return out
}

func orNone(v float64) string {
	if v == 0 {
		return "—"
	}
	return number(v)
}

// number writes three digits or, from a thousand on, whole numbers with commas.
func number(v float64) string {
	if v >= 1000 {
		return count(int(v + 0.5))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
