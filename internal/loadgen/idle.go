package loadgen

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Idle is how much memory clients cost that only wait.
type Idle struct {
	Connections   int     `json:"connections"`
	Before        int64   `json:"rss_before_bytes"`
	After         int64   `json:"rss_after_bytes"`
	PerConnection float64 `json:"bytes_per_connection"`
}

// MeasureIdle connects n clients, with one subscription to a topic of its own each, and
// returns by how much the process pid has grown when it has settled. What the kernel holds
// for the sockets is not in it.
func MeasureIdle(ctx context.Context, server Server, n, pid int) (*Idle, error) {
	r, err := newRun(Scenario{Server: server})
	if err != nil {
		return nil, err
	}
	before, err := settledRSS(ctx, pid)
	if err != nil {
		return nil, err
	}
	links := make([]*link, n)
	defer func() {
		for _, l := range links {
			if l != nil {
				_ = l.leave() // the figures are taken
			}
		}
	}()
	g, dialling := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for i := range links {
		g.Go(func() error {
			var err error
			if links[i], err = r.scenario.connect(dialling, r.wire, r.id("i", i), true, 512); err != nil {
				return err
			}
			if err := links[i].subscribe([]string{r.wire.topic(i, 0)}, 0); err != nil {
				return fmt.Errorf("cannot subscribe as client %d: %w", i, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	after, err := settledRSS(ctx, pid)
	if err != nil {
		return nil, err
	}
	return &Idle{Connections: n, Before: before, After: after, PerConnection: float64(after-before) / float64(n)}, nil
}

// settledRSS waits until the process's memory has moved by less than half a percent for five
// seconds, at most a minute, and returns it.
func settledRSS(ctx context.Context, pid int) (int64, error) {
	const look, calm, longest = 250 * time.Millisecond, 5 * time.Second, time.Minute
	tick := time.NewTicker(look)
	defer tick.Stop()
	began := time.Now()
	moved, at := began, int64(0)
	for {
		u, err := UsageOf(pid)
		if err != nil {
			return 0, err
		}
		if diff := u.RSS - at; max(diff, -diff) > at/200 {
			moved, at = time.Now(), u.RSS
		}
		if time.Since(moved) > calm || time.Since(began) > longest {
			return u.RSS, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// Listening is how long a server that starts takes, from the call of AwaitListening.
type Listening struct {
	Accepting time.Duration `json:"accepting_ns"` // until a connection is accepted
	Serving   time.Duration `json:"serving_ns"`   // until a new client is logged in
}

// AwaitListening tries to connect until the server lets a client in.
func AwaitListening(ctx context.Context, server Server) (Listening, error) {
	const look = 2 * time.Millisecond
	r, err := newRun(Scenario{Server: server})
	if err != nil {
		return Listening{}, err
	}
	began := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	var out Listening
	for {
		c, err := dial(ctx, &r.scenario.Server, r.scenario.environment.dial)
		if err == nil {
			if out.Accepting == 0 {
				out.Accepting = time.Since(began)
			}
			l := newLink(c, r.wire, narrowBuffer)
			if err = l.login(&r.scenario.Server, r.id("l", 0), true); err == nil {
				out.Serving = time.Since(began)
				return out, l.leave()
			}
			err = closing(c, err)
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-tick.C:
		}
	}
}
