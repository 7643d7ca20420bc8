package compare

import (
	"regexp"
	"time"

	"github.com/millwright/millwright/internal/loadgen"
)

// entry is one contender in one load.
type entry struct {
	Contender  string `json:"contender"`
	Persistent bool   `json:"persistent"` // the subscribers' sessions
}

// goal is what one figure of ours has to reach.
type goal struct {
	against string  // mosquitto or natsServer: a multiple of its figure; "": the figure itself
	bound   float64 // the least, or where less is better the most
}

// row is one line of the table: our figure and what it is held against.
type row struct {
	name  string
	ours  entry
	goals []goal
}

// load is one load, and how its figure is taken.
type load struct {
	key     string // for Options.Only
	unit    string
	less    bool // less is better
	rows    []row
	others  []entry
	measure measurement
}

// loads returns the loads of the table "Fast", each run lasting for the duration.
func loads(o *Options) []load {
	only := func(names ...string) (entries []entry) {
		for _, n := range names {
			entries = append(entries, entry{Contender: n})
		}
		return entries
	}
	var (
		durable  = entry{ours, true}
		volatile = entry{ours, false}
	)
	timed := loadgen.Scenario{Warmup: min(time.Second, o.Duration), Duration: o.Duration}
	with := func(change func(*loadgen.Scenario)) loadgen.Scenario {
		s := timed
		change(&s)
		return s
	}
	all := []load{
		{
			key: "one-to-one", unit: "delivered/s",
			rows: []row{{
				"QoS 0, 1 to 1, 64 bytes, flat out", volatile,
				[]goal{{mosquitto, 4}, {natsServer, 0.8}},
			}},
			others:  only(mosquitto, natsServer),
			measure: scenario(timed, delivered),
		},
		{
			key: "fan-out", unit: "delivered/s",
			rows:    []row{{"QoS 0, 1 to 200, 64 bytes, flat out", volatile, []goal{{mosquitto, 2}}}},
			others:  only(mosquitto, natsServer),
			measure: scenario(with(func(s *loadgen.Scenario) { s.Subscribers = 200 }), delivered),
		},
		{
			key: "acknowledged", unit: "end to end/s",
			rows: []row{
				{"QoS 1, 10 to 1, persistent session", durable, []goal{{"", 20_000}, {mosquitto, 0.8}}},
				{"QoS 1, 10 to 1, clean session", volatile, []goal{{"", 20_000}, {mosquitto, 0.8}}},
			},
			others:  only(mosquitto, mosquittoTuned),
			measure: scenario(with(func(s *loadgen.Scenario) { s.Publishers, s.QoS = 10, 1 }), endToEnd),
		},
		{
			key: "pairs", unit: "ms p99", less: true,
			rows: []row{
				{"QoS 1, 50 pairs, 5,000/s, persistent sessions", durable, []goal{{mosquitto, 2}}},
				{"QoS 1, 50 pairs, 5,000/s, clean sessions", volatile, []goal{{mosquitto, 2}}},
			},
			others: only(mosquitto, mosquittoTuned),
			measure: scenario(with(func(s *loadgen.Scenario) {
				s.Publishers, s.Subscribers, s.Pairs, s.QoS, s.Rate = 50, 50, true, 1, 5000
			}), func(r *loadgen.Result) float64 { return r.Latency.P99 }),
		},
		{
			key: "idle", unit: "KiB", less: true,
			rows:    []row{{"memory of an idle connection with one subscription", volatile, []goal{{"", 8}}}},
			others:  only(mosquitto, natsServer),
			measure: idle(o.Connections),
		},
		{
			key: "cpu", unit: "% of a core", less: true,
			rows:   []row{{"CPU at 10,000/s, QoS 0, 10 pairs", volatile, []goal{{natsServer, 1}}}},
			others: only(mosquitto, natsServer),
			measure: scenario(with(func(s *loadgen.Scenario) {
				s.Publishers, s.Subscribers, s.Pairs, s.Rate = 10, 10, true, 10_000
			}), func(r *loadgen.Result) float64 { return r.ServerCPU }),
		},
		{
			key: "restart", unit: "s", less: true,
			rows:    []row{{"listening after kill -9 with queued messages: " + count(o.Queued), durable, []goal{{"", 2}}}},
			measure: restart(o.Queued),
		},
	}
	return chosen(all, o.Only)
}

// chosen returns the loads whose key matches.
func chosen(all []load, only *regexp.Regexp) (out []load) {
	for _, l := range all {
		if only == nil || only.MatchString(l.key) {
			out = append(out, l)
		}
	}
	return out
}

func delivered(r *loadgen.Result) float64 { return r.DeliveredRate }

// endToEnd is what was both acknowledged and delivered: a server that acknowledges faster
// than it delivers only queues.
func endToEnd(r *loadgen.Result) float64 { return min(r.AckedRate, r.DeliveredRate) }
