package mapper

import (
	"context"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// Reports: changes at most once a second, counters every few seconds, a sign of life at
// least every quarter of a minute.
const (
	reportSpacing  = time.Second
	reportCounters = 5 * time.Second
	reportSilence  = 15 * time.Second
	reportTimeout  = 10 * time.Second
)

// reporter remembers what was reported, so that only changes are.
type reporter struct {
	m          *Mapper
	told       map[string]spec.ResourceStatus // nil: nothing, the next report is a full one
	revision   int64
	at         time.Time // of the last report that was taken
	countersAt time.Time
}

// reportLoop reports until ctx ends. When there is a copy of the desired state on disk it waits until that is taken
// over: before, a report would say that all is gone.
func (m *Mapper) reportLoop(ctx context.Context, cached bool) {
	r := reporter{m: m}
	failing := false
	patience := time.NewTimer(reportSpacing)
	defer patience.Stop()
	if cached {
		patience.Stop()
	}
	select {
	case <-m.takeover:
	case <-patience.C:
	case <-ctx.Done():
		return
	}
	for {
		err := r.report(ctx)
		if err != nil && !failing {
			m.opts.Log.Warn("cannot report the status; trying again", "error", err)
		}
		failing = err != nil
		if !m.reportPause(ctx, failing) {
			return
		}
	}
}

// reportPause waits until the next report is due, and reports whether ctx is still alive.
func (m *Mapper) reportPause(ctx context.Context, failing bool) bool {
	spacing := time.NewTimer(reportSpacing)
	defer spacing.Stop()
	select {
	case <-m.takeover:
		return true
	case <-spacing.C:
	case <-ctx.Done():
		return false
	}
	if failing {
		return true
	}
	regular := time.NewTimer(reportCounters - reportSpacing)
	defer regular.Stop()
	select {
	case <-m.takeover:
	case <-m.changed:
	case <-regular.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// report sends what has changed since the last report, or everything, or nothing if
// there is nothing to say.
func (r *reporter) report(ctx context.Context) error {
	now := time.Now()
	if r.m.recheck.Swap(false) {
		r.told = nil
	}
	counters := now.Sub(r.countersAt) >= reportCounters
	status := spec.AgentStatus{Agent: r.m.opts.Agent, Revision: r.m.revision.Load(), Full: r.told == nil}
	all := map[string]spec.ResourceStatus{}
	for _, s := range r.m.Status() {
		old, known := r.told[s.Key()]
		if !known || significant(old, s) || counters && old != s {
			status.Put = append(status.Put, s)
			old = s
		}
		all[s.Key()] = old
	}
	for _, key := range sortedKeys(r.told) {
		if _, still := all[key]; !still {
			status.Removed = append(status.Removed, key)
		}
	}
	idle := len(status.Put)+len(status.Removed) == 0 && status.Revision == r.revision && now.Sub(r.at) < reportSilence
	if idle && !status.Full {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := r.m.opts.Report(ctx, status); err != nil {
		r.told = nil
		return err
	}
	r.told, r.revision, r.at = all, status.Revision, now
	if counters {
		r.countersAt = now
	}
	return nil
}

// significant reports whether more than counters has changed.
func significant(a, b spec.ResourceStatus) bool {
	return a.State != b.State || a.OnTarget != b.OnTarget || a.Error != b.Error || a.LastError != b.LastError ||
		!a.Since.Equal(b.Since) || a.Starts != b.Starts || a.Topic != b.Topic || a.Type != b.Type ||
		a.LastValueAt.IsZero() != b.LastValueAt.IsZero()
}
