package mapper

import (
	"context"
	"errors"
	"sync"
	"time"
)

// standing is what stands of one subscription on one link.
type standing struct {
	id    string    // of the subscription, "" while it does not stand
	stop  func()    // of a listener
	again time.Time // of a failed one: when to try
	pause *pauses   // of a failed one
}

// pushLoop keeps the link's pushed subscriptions and listeners as they are wanted, until the
// link ends. Failed ones are tried again, each with its own back-off.
func (c *connection) pushLoop(l *link) {
	endpoints, listeners := map[*endpoint]*standing{}, map[*listener]*standing{}
	defer func() {
		for x, s := range listeners {
			if s.stop != nil {
				x.lost()
			}
			c.stopListening(x, s)
		}
	}()
	resumed := sync.OnceFunc(func() { c.resumed(l) })
	for l.ctx.Err() == nil {
		c.unsubscribe(l, endpoints)
		c.subscribe(l, endpoints)
		c.listen(l, listeners)
		resumed()
		timer := time.NewTimer(untilNext(endpoints, listeners))
		select {
		case <-c.pushKick:
		case <-timer.C:
		case <-l.ctx.Done():
		}
		timer.Stop()
	}
}

// resumed lets a session end what is left of an earlier one.
func (c *connection) resumed(l *link) {
	r, ok := l.Session.(Resumer)
	if !ok || l.ctx.Err() != nil {
		return
	}
	err, broken := callLink(c, l, r.Resumed)
	if err = errors.Join(err, broken); err != nil && l.ctx.Err() == nil {
		c.log.Warn("cannot end what the machine keeps of an earlier session", "error", err)
	}
}

// untilNext returns when the first failed subscription is due.
func untilNext(endpoints map[*endpoint]*standing, listeners map[*listener]*standing) time.Duration {
	next := time.Now().Add(time.Hour)
	for _, s := range endpoints {
		if s.id == "" && s.again.Before(next) {
			next = s.again
		}
	}
	for _, s := range listeners {
		if s.stop == nil && s.again.Before(next) {
			next = s.again
		}
	}
	return max(time.Until(next), 0)
}

// unsubscribe ends what is no longer wanted.
func (c *connection) unsubscribe(l *link, have map[*endpoint]*standing) {
	want := users(c, c.pushed)
	var ids []string
	for e, s := range have {
		if want[e] {
			continue
		}
		delete(have, e)
		if s.id != "" {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	err, broken := callLink(c, l, func(ctx context.Context) error { return l.Unsubscribe(ctx, ids) })
	if err = errors.Join(err, broken); err != nil && l.ctx.Err() == nil {
		c.log.Warn("cannot end subscriptions", "count", len(ids), "error", err)
	}
}

// subscribe asks for all that is wanted, due and does not stand yet, in one call.
func (c *connection) subscribe(l *link, have map[*endpoint]*standing) {
	var due []*endpoint
	var subs []Subscription
	now := time.Now()
	for e := range users(c, c.pushed) {
		if s := have[e]; s != nil && (s.id != "" || now.Before(s.again)) {
			continue
		}
		due = append(due, e)
		subs = append(subs, Subscription{ID: e.subscription, Point: e.point, Deliver: func(r Result) { e.deliver(l, r) }})
	}
	if len(due) == 0 {
		return
	}
	errs, broken := callLink(c, l, func(ctx context.Context) []error { return l.Subscribe(ctx, subs) })
	if broken != nil || l.ctx.Err() != nil {
		return
	}
	for i, e := range due {
		err := errors.New("the driver gave no answer")
		if i < len(errs) {
			err = errs[i]
		}
		have[e] = c.stands(l, e, have[e], err)
	}
}

// stands notes how a subscription went.
func (c *connection) stands(l *link, e *endpoint, before *standing, err error) *standing {
	if err == nil {
		e.joined(l)
		return &standing{id: e.subscription}
	}
	e.refused(err)
	if before == nil {
		pause := strategyPauses(c.strategy)
		before = &standing{pause: &pause}
	}
	before.again = time.Now().Add(before.pause.next())
	return before
}

// callLink makes one call to a session. If the driver panics or does not come back, the link is over.
func callLink[T any](c *connection, l *link, f func(context.Context) T) (T, error) {
	ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	answer, err := call(ctx, c.m, f, nil)
	if err != nil && l.ctx.Err() == nil {
		c.broken(l, err)
	}
	return answer, err
}
