package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// Options of a comparison. What is zero takes the default that is given with it.
type Options struct {
	Programs    Programs
	Dir         string         // for the servers' data; it should be on the disk to be measured
	Only        *regexp.Regexp // the keys of the loads; nil: all
	Rounds      int            // 3
	Duration    time.Duration  // of each load; 5 s
	Connections int            // idle ones; 5,000
	Queued      int            // messages at the restart; 1,000,000
	Progress    io.Writer
}

// Measured are all samples of one contender in one load.
type Measured struct {
	entry
	Load    string   `json:"load"`
	Unit    string   `json:"unit"`
	Median  float64  `json:"median"`
	Samples []Sample `json:"samples"`
}

// Report is the outcome of a comparison.
type Report struct {
	Machine  string      `json:"machine"`
	Syncs    float64     `json:"synced_writes_per_second"`
	Versions []string    `json:"versions"`
	Rounds   int         `json:"rounds"`
	Lines    []Line      `json:"lines"`
	Measured []*Measured `json:"measured"`
}

// Run compares. A load that fails on one of the servers is a line of the report and no error.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	dir, err := os.MkdirTemp(o.Dir, "millwright-load-*")
	if err != nil {
		return nil, err
	}
	report, err := o.run(ctx, dir)
	return report, errors.Join(err, os.RemoveAll(dir))
}

func (o Options) withDefaults() Options {
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.Duration == 0 {
		o.Duration = 5 * time.Second
	}
	if o.Connections == 0 {
		o.Connections = 5000
	}
	if o.Queued == 0 {
		o.Queued = 1_000_000
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

func (o *Options) run(ctx context.Context, dir string) (*Report, error) {
	syncs, err := syncRate(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot measure the disk: %w", err)
	}
	report := &Report{
		Machine: fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Syncs:   syncs, Rounds: o.Rounds, Versions: o.Programs.versions(ctx),
	}
	for _, l := range loads(o) {
		measured, err := o.measure(ctx, &l, dir)
		if err != nil {
			return report, err
		}
		report.Measured = append(report.Measured, measured...)
		for _, r := range l.rows {
			report.Lines = append(report.Lines, judge(&l, &r, measured))
		}
	}
	return report, nil
}

// measure takes all rounds of one load, contender after contender.
func (o *Options) measure(ctx context.Context, l *load, dir string) ([]*Measured, error) {
	var all []*Measured
	for _, r := range l.rows {
		all = append(all, &Measured{entry: r.ours, Load: l.key, Unit: l.unit})
	}
	for _, e := range l.others {
		all = append(all, &Measured{entry: e, Load: l.key, Unit: l.unit})
	}
	for round := range o.Rounds {
		for _, m := range all {
			s, err := o.sample(ctx, l, m.entry, dir)
			if err != nil {
				return nil, err
			}
			m.Samples = append(m.Samples, s)
			fmt.Fprintf(o.Progress, "%-12s round %d: %-24s %s\n", l.key, round+1, m.name(), s.text(l.unit))
		}
	}
	for _, m := range all {
		m.Median = median(m.Samples)
	}
	return all, nil
}

func (o *Options) sample(ctx context.Context, l *load, e entry, dir string) (Sample, error) {
	own, err := os.MkdirTemp(dir, "server-*")
	if err != nil {
		return Sample{}, err
	}
	s, err := l.measure(ctx, &o.Programs, e, own)
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	if err != nil {
		s.Failure = err.Error()
	}
	return s, os.RemoveAll(own)
}

// median of the samples that have a value; 0 where none has.
func median(samples []Sample) float64 {
	var values []float64
	for _, s := range samples {
		if s.Failure == "" {
			values = append(values, s.Value)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

func (e entry) name() string {
	if e.Persistent {
		return e.Contender + ", persistent"
	}
	return e.Contender
}
