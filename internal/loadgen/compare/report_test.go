package compare

import (
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/loadgen"
)

func measuredOf(e entry, values ...float64) *Measured {
	m := &Measured{entry: e, Load: "load", Unit: "unit"}
	for _, v := range values {
		m.Samples = append(m.Samples, Sample{Value: v})
	}
	m.Median = median(m.Samples)
	return m
}

// The verdict: the better of the two mosquittos counts, and a broken promise is never met.
func TestJudge(t *testing.T) {
	us := entry{Contender: ours}
	all := func(own ...float64) []*Measured {
		return []*Measured{
			measuredOf(us, own...),
			measuredOf(entry{Contender: mosquitto}, 10, 30, 20),
			measuredOf(entry{Contender: mosquittoTuned}, 40),
			measuredOf(entry{Contender: natsServer}, 100),
		}
	}
	more := []goal{{"", 50}, {mosquitto, 2}, {natsServer, 0.8}}
	for _, c := range []struct {
		name     string
		less     bool
		goals    []goal
		measured []*Measured
		met      bool
		ratio    string
	}{
		{"met", false, more, all(80), true, "2.00 × mosquitto, 0.80 × nats-server"},
		{"missed against mosquitto", false, more[:2], all(79), false, "1.98 × mosquitto"},
		{"missed by itself", false, []goal{{"", 50}}, all(49), false, ""},
		{"less", true, []goal{{mosquitto, 2}}, all(40), true, "2.00 × mosquitto"},
		{"too much", true, []goal{{mosquitto, 2}}, all(41), false, "2.05 × mosquitto"},
		{"nothing measured", true, []goal{{"", 2}}, all(), false, ""},
		{"nothing to hold it against", true, []goal{{natsServer, 1}}, all(1)[:1], false, ""},
	} {
		l := &load{unit: "unit", less: c.less}
		line := judge(l, &row{"a load", us, c.goals}, c.measured)
		if line.Met != c.met || line.Ratio != c.ratio {
			t.Errorf("%s: met %v, ratio %q, of %+v", c.name, line.Met, line.Ratio, line)
		}
	}
	measured := all(80)
	measured[0].Samples[0].Broken = []string{"LOST"}
	if line := judge(&load{}, &row{"a load", us, more}, measured); line.Met {
		t.Error("a server that lost messages has met its goal")
	}
}

func TestMedian(t *testing.T) {
	samples := []Sample{{Value: 9}, {Value: 1}, {Failure: "no start"}, {Value: 5}}
	if m := median(samples); m != 5 {
		t.Errorf("median %v, want 5", m)
	}
	if m := median(samples[:2]); m != 5 {
		t.Errorf("median of two %v, want 5", m)
	}
	if m := median(samples[2:3]); m != 0 {
		t.Errorf("median of a failure %v, want 0", m)
	}
}

func TestPrint(t *testing.T) {
	us := entry{Contender: ours, Persistent: true}
	m := measuredOf(us, 1234567)
	m.Samples[0].Load = &loadgen.Result{Missing: 1, Delivered: 3, Reconnects: 2}
	m.Samples[0].Broken = []string{"LOST: 1 message"}
	r := &Report{Machine: "a machine", Syncs: 4400, Versions: []string{"v1"}, Rounds: 1, Measured: []*Measured{m}}
	r.Lines = []Line{judge(&load{key: "load", unit: "unit"}, &row{"a load", us, []goal{{"", 20_000}}}, r.Measured)}
	var out strings.Builder
	r.Print(&out)
	for _, want := range []string{
		"a machine, 4,400 synced writes a second; v1; median of 1 rounds.\n",
		"| a load | 1,234,567 unit | — | — | — | ≥ 20,000 unit | **no** |\n",
		"25.0 % not delivered by the end, subscribers cut off 2 times",
		"\n!!! load, millwright, persistent, round 1: LOST: 1 message\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
