package mapper

import (
	"context"
	"sync"
	"time"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// longestSleep bounds a poll group's timer, so that a changed clock moves cron's times too.
const longestSleep = time.Minute

// cadence says when polls are due.
type cadence interface {
	Next(after time.Time) time.Time
}

// every is a fixed interval, counted from the poll before.
type every time.Duration

func (e every) Next(after time.Time) time.Time { return after.Add(time.Duration(e)) }

// newCadence checks a schedule. Cron has 5 fields, or 6 with seconds first.
func newCadence(s Schedule) (cadence, error) {
	if s.Cron == "" {
		return every(max(s.Interval, time.Millisecond)), nil
	}
	c, err := commissioning.ParseCron(s.Cron)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use cron expression %q: %w", s.Cron, err)
	}
	return c, nil
}

// pollLoop keeps one group of endpoints for each schedule, until the link ends.
func (c *connection) pollLoop(l *link) {
	groups := map[Schedule]*pollGroup{}
	var running sync.WaitGroup
	defer running.Wait()
	for l.ctx.Err() == nil {
		wanted := map[Schedule][]*endpoint{}
		for e := range users(c, c.polled) {
			wanted[e.point.Schedule()] = append(wanted[e.point.Schedule()], e)
		}
		for schedule, members := range wanted {
			g := groups[schedule]
			if g == nil {
				g = newPollGroup(c, l, members[0].cadence)
				groups[schedule] = g
				running.Go(g.run)
			}
			g.set(members)
		}
		for schedule, g := range groups {
			if wanted[schedule] == nil {
				g.stop()
				delete(groups, schedule)
			}
		}
		select {
		case <-c.pollKick:
		case <-l.ctx.Done():
		}
	}
}

// pollGroup reads all endpoints of one schedule together. A poll never overlaps the one
// before; polls that came due meanwhile are skipped and counted.
type pollGroup struct {
	c       *connection
	l       *link
	cadence cadence
	ctx     context.Context
	stop    context.CancelFunc
	kick    chan struct{} // capacity 1: members changed

	mu      sync.Mutex
	members []*endpoint
	points  []Point
	fresh   []*endpoint // to be polled at once
}

func newPollGroup(c *connection, l *link, when cadence) *pollGroup {
	g := &pollGroup{c: c, l: l, cadence: when, kick: make(chan struct{}, 1)}
	g.ctx, g.stop = context.WithCancel(l.ctx)
	return g
}

// set replaces the members; those that are new are polled at once, unless their times are of a calendar, and the
// others' times stay.
func (g *pollGroup) set(members []*endpoint) {
	_, interval := g.cadence.(every)
	g.mu.Lock()
	defer g.mu.Unlock()
	old := make(map[*endpoint]bool, len(g.members))
	for _, e := range g.members {
		old[e] = true
	}
	g.members = members
	g.points = make([]Point, len(members))
	for i, e := range members {
		g.points[i] = e.point
		if old[e] {
			continue
		}
		if interval {
			g.fresh = append(g.fresh, e)
		} else {
			e.joined(g.l)
		}
	}
	wake(g.kick)
}

func (g *pollGroup) run() {
	defer g.stop()
	next := g.cadence.Next(time.Now())
	for g.ctx.Err() == nil {
		if fresh := g.takeFresh(); len(fresh) > 0 {
			g.poll(fresh, pointsOf(fresh))
			next = g.skip(next, 1)
		}
		if !g.wait(next) {
			continue
		}
		members, points := g.all()
		g.poll(members, points)
		next = g.skip(g.cadence.Next(next), 0)
	}
}

// wait returns true when next has come, false when there is something else to look at.
func (g *pollGroup) wait(next time.Time) bool {
	timer := time.NewTimer(min(max(time.Until(next), 0), longestSleep))
	defer timer.Stop()
	select {
	case <-timer.C:
		return !time.Now().Before(next)
	case <-g.kick:
	case <-g.ctx.Done():
	}
	return false
}

// skip moves next on while polls are overdue, except for the allowed number that may run late.
func (g *pollGroup) skip(next time.Time, allowed int) time.Time {
	now := time.Now()
	late := next
	for range allowed {
		late = g.cadence.Next(late)
	}
	for !now.Before(late) {
		next, late = g.cadence.Next(next), g.cadence.Next(late)
		members, _ := g.all()
		for _, e := range members {
			e.skipped.Add(1)
		}
	}
	return next
}

func (g *pollGroup) takeFresh() []*endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	fresh := g.fresh
	g.fresh = nil
	return fresh
}

func (g *pollGroup) all() ([]*endpoint, []Point) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members, g.points
}

func pointsOf(endpoints []*endpoint) []Point {
	points := make([]Point, len(endpoints))
	for i, e := range endpoints {
		points[i] = e.point
	}
	return points
}

// poll reads the points and hands each endpoint its result. Errors that come of a link that has
// ended are not delivered: its loss is.
func (g *pollGroup) poll(endpoints []*endpoint, points []Point) {
	results, err := callLink(g.c, g.l, func(ctx context.Context) []Result { return g.l.Read(ctx, points) })
	if err != nil {
		return
	}
	ended := g.l.over()
	for i, e := range endpoints {
		r := Result{Err: spec.Errorf(spec.Internal, "the driver gave no answer")}
		if i < len(results) {
			r = results[i]
		}
		if ended && r.Err != nil {
			continue
		}
		e.deliver(g.l, r)
	}
}

// over reports whether the link has ended or is about to.
func (l *link) over() bool {
	select {
	case <-l.Done():
		return true
	case <-l.ctx.Done():
		return true
	default:
		return false
	}
}
