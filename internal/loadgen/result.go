package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// snapshot is how far everybody was at one time.
type snapshot struct {
	at                    time.Time
	sent, acked, received uint64
	server, own           Usage
	machine               time.Duration // CPU time of all processes
	err                   error         // of reading these
}

func (r *run) snapshot() snapshot {
	s := snapshot{at: time.Now()}
	for _, p := range r.publishers {
		s.sent += p.sent.Load()
		s.acked += p.acked.Load()
	}
	for _, sub := range r.subscribers {
		s.received += sub.received.Load()
	}
	return s
}

// snapshotAfter waits, at most until early is closed or ctx ends, and then takes one with the
// usage of both processes.
func (r *run) snapshotAfter(ctx context.Context, d time.Duration, early <-chan struct{}) snapshot {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-early:
	case <-ctx.Done():
	}
	s := r.snapshot()
	if r.scenario.PID == 0 {
		return s
	}
	var errs [3]error
	s.server, errs[0] = UsageOf(r.scenario.PID)
	s.own, errs[1] = UsageOf(os.Getpid())
	s.machine, errs[2] = machineCPU()
	s.err = errors.Join(errs[:]...)
	return s
}

// Result is what became of a load. Rates are of the measured time, the other counts of the
// whole run with its warm-up and its end.
type Result struct {
	Seconds       float64 `json:"seconds"` // measured
	SentRate      float64 `json:"sent_per_second"`
	AckedRate     float64 `json:"acknowledged_per_second"`
	DeliveredRate float64 `json:"delivered_per_second"` // over all subscribers

	Sent      uint64 `json:"sent"`
	Acked     uint64 `json:"acknowledged"`
	Delivered uint64 `json:"delivered"` // without duplicates

	Missing    uint64 `json:"missing"`    // sent and not delivered, over all subscribers
	Lost       uint64 `json:"lost"`       // those of them that the server had acknowledged
	Duplicates uint64 `json:"duplicates"` // delivered again
	Unmarked   uint64 `json:"unmarked"`   // those of them without DUP
	Disorder   uint64 `json:"disorder"`   // delivered after a later one of the same publisher and topic
	Foreign    uint64 `json:"foreign"`    // delivered and not of this run
	Reconnects uint64 `json:"reconnects"` // how often the server cut a subscriber off
	CutOff     string `json:"cut_off,omitempty"`

	Latency Latency `json:"latency_ms"`

	ServerCPU    float64 `json:"server_cpu_percent"` // of one core
	ServerRSS    int64   `json:"server_rss_bytes"`   // at the end
	GeneratorCPU float64 `json:"generator_cpu_percent"`
	OthersCPU    float64 `json:"others_cpu_percent"` // what the machine did beside: best 0

	QoS byte `json:"qos"`
}

// Latency is from the time at which messages were meant to be sent to their delivery, in
// milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func (r *run) result(from, till snapshot) *Result {
	res := &Result{QoS: r.scenario.QoS, Seconds: till.at.Sub(from.at).Seconds()}
	res.SentRate = float64(till.sent-from.sent) / res.Seconds
	res.AckedRate = float64(till.acked-from.acked) / res.Seconds
	res.DeliveredRate = float64(till.received-from.received) / res.Seconds
	res.ServerCPU = percent(till.server.CPU-from.server.CPU, res.Seconds)
	res.GeneratorCPU = percent(till.own.CPU-from.own.CPU, res.Seconds)
	res.OthersCPU = max(0, percent(till.machine-from.machine, res.Seconds)-res.ServerCPU-res.GeneratorCPU)
	res.ServerRSS = till.server.RSS
	for _, p := range r.publishers {
		res.Sent += p.sent.Load()
		res.Acked += p.acked.Load()
	}
	all := newHistogram()
	for i, s := range r.subscribers {
		n := s.notes
		res.Duplicates += n.duplicates
		res.Unmarked += n.unmarked
		res.Disorder += n.disorder
		res.Foreign += n.foreign
		res.Delivered += n.received - n.duplicates
		res.Reconnects += s.reconnects.Load()
		if s.reason != nil && res.CutOff == "" {
			res.CutOff = s.reason.Error()
		}
		all.Merge(n.latency)
		for j, p := range r.publishers {
			if r.scenario.Pairs && i != j {
				continue
			}
			res.Missing += missing(n.seen[j], p.sent.Load())
			res.Lost += p.confirm.missingFrom(n.seen[j])
		}
	}
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	res.Latency = Latency{P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: float64(all.Max()) / 1000}
	return res
}

// missing returns how many of the first sent are not in seen.
func missing(seen bitmap, sent uint64) (n uint64) {
	var all bitmap
	for at := uint64(0); at < sent; at += 64 {
		word := ^uint64(0)
		if rest := sent - at; rest < 64 {
			word = 1<<rest - 1
		}
		all = append(all, word)
	}
	return all.missingFrom(seen)
}

func percent(d time.Duration, seconds float64) float64 { return 100 * d.Seconds() / seconds }

// Broken returns what the server promised and did not do, one sentence each.
func (res *Result) Broken() (sentences []string) {
	if res.Lost > 0 {
		sentences = append(sentences, fmt.Sprintf("LOST: %d messages were acknowledged and never delivered", res.Lost))
	}
	if res.Disorder > 0 {
		sentences = append(sentences, fmt.Sprintf("OUT OF ORDER: %d messages came after a later one of the same publisher and topic", res.Disorder))
	}
	if res.QoS == 2 && res.Duplicates > 0 {
		sentences = append(sentences, fmt.Sprintf("TWICE: %d messages of QoS 2 were delivered again", res.Duplicates))
	}
	if res.QoS == 1 && res.Unmarked > 0 {
		sentences = append(sentences, fmt.Sprintf("TWICE: %d messages of QoS 1 were delivered again without DUP", res.Unmarked))
	}
	if res.Foreign > 0 {
		sentences = append(sentences, fmt.Sprintf("FOREIGN: %d messages were not of this run", res.Foreign))
	}
	return sentences
}

// Print writes the result for people.
func (res *Result) Print(w io.Writer) {
	for _, s := range res.Broken() {
		fmt.Fprintf(w, "!!! %s\n", s)
	}
	fmt.Fprintf(w, "rate        sent %.0f/s, acknowledged %.0f/s, delivered %.0f/s over %.1f s\n", res.SentRate, res.AckedRate, res.DeliveredRate, res.Seconds)
	fmt.Fprintf(w, "messages    sent %d, acknowledged %d, delivered %d\n", res.Sent, res.Acked, res.Delivered)
	fmt.Fprintf(w, "faults      missing %d, lost %d, duplicates %d (%d without DUP), out of order %d, subscribers cut off %d times\n",
		res.Missing, res.Lost, res.Duplicates, res.Unmarked, res.Disorder, res.Reconnects)
	if res.CutOff != "" {
		fmt.Fprintf(w, "cut off     %s\n", res.CutOff)
	}
	l := res.Latency
	fmt.Fprintf(w, "latency ms  p50 %.3f, p90 %.3f, p99 %.3f, p99.9 %.3f, max %.3f\n", l.P50, l.P90, l.P99, l.P999, l.Max)
	if res.ServerRSS > 0 {
		fmt.Fprintf(w, "server      CPU %.1f %% of a core, resident %.1f MiB\n", res.ServerCPU, float64(res.ServerRSS)/(1<<20))
		fmt.Fprintf(w, "generator   CPU %.1f %% of a core, %.2f µs a message\n", res.GeneratorCPU, res.GeneratorCPU*1e4/max(1, res.SentRate+res.DeliveredRate))
		fmt.Fprintf(w, "others      CPU %.1f %% of a core\n", res.OthersCPU)
	}
}
