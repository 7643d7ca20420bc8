package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/millwright/millwright/internal/loadgen"
)

// Sample is one measurement of one contender.
type Sample struct {
	Value   float64         `json:"value"`
	Failure string          `json:"failure,omitempty"` // why there is no value
	Broken  []string        `json:"broken,omitempty"`  // what the server promised and did not do
	Load    *loadgen.Result `json:"load,omitempty"`
	Idle    *loadgen.Idle   `json:"idle,omitempty"`
	Restart *Restart        `json:"restart,omitempty"`
}

// Restart is what became of a queue over a SIGKILL.
type Restart struct {
	Listening loadgen.Listening `json:"listening"` // from the start of the process
	First     time.Duration     `json:"first"`     // from the subscriber's return to its first message
	All       time.Duration     `json:"all"`       // to its last one
	Filled    float64           `json:"filled_per_second"`
	Collected *loadgen.Result   `json:"collected"`
}

// measurement takes one sample of an entry.
type measurement func(ctx context.Context, p *Programs, e entry, dir string) (Sample, error)

// during runs do against a server that lives as long.
func during(ctx context.Context, p *Programs, e entry, dir string, do func(*process) error) error {
	s, err := p.start(ctx, e.Contender, dir)
	if err != nil {
		return err
	}
	if _, err = s.listening(ctx); err == nil {
		err = do(s)
	}
	return errors.Join(err, s.stop())
}

// scenario measures a load of the generator.
func scenario(s loadgen.Scenario, value func(*loadgen.Result) float64) measurement {
	return func(ctx context.Context, p *Programs, e entry, dir string) (out Sample, err error) {
		err = during(ctx, p, e, dir, func(srv *process) error {
			s := s
			s.Server, s.PID, s.Persistent = srv.server, srv.pid(), e.Persistent
			out.Load, err = loadgen.Run(ctx, s)
			return err
		})
		if err != nil {
			return out, err
		}
		out.Value, out.Broken = value(out.Load), out.Load.Broken()
		return out, nil
	}
}

// idle measures the memory of n connections, in KiB for each.
func idle(n int) measurement {
	return func(ctx context.Context, p *Programs, e entry, dir string) (out Sample, err error) {
		err = during(ctx, p, e, dir, func(srv *process) error {
			out.Idle, err = loadgen.MeasureIdle(ctx, srv.server, n, srv.pid())
			return err
		})
		if err != nil {
			return out, err
		}
		out.Value = out.Idle.PerConnection / 1024
		return out, nil
	}
}

// restart fills the queue of a session that is away with n messages, kills the server, starts
// it again and collects them.
func restart(n int) measurement {
	return func(ctx context.Context, p *Programs, e entry, dir string) (out Sample, err error) {
		if e.Contender != ours {
			return out, fmt.Errorf("cannot measure the restart of %q: it keeps nothing", e.Contender)
		}
		first, err := p.start(ctx, e.Contender, dir)
		if err != nil {
			return out, err
		}
		out.Restart = &Restart{}
		queued, err := fill(ctx, first, n, out.Restart)
		if err = errors.Join(err, first.kill()); err != nil {
			return out, err
		}
		second, err := p.startOurs(ctx, dir, first.server.Password)
		if err != nil {
			return out, err
		}
		return out, errors.Join(collect(ctx, second, queued, &out), second.stop())
	}
}

// fill queues n messages from ten publishers.
func fill(ctx context.Context, s *process, n int, out *Restart) (*loadgen.Queued, error) {
	const publishers = 10
	if _, err := s.listening(ctx); err != nil {
		return nil, err
	}
	q, err := loadgen.Fill(ctx, loadgen.Scenario{
		Server: s.server, Publishers: publishers, Count: (n + publishers - 1) / publishers, QoS: 1,
	})
	if err == nil {
		out.Filled = q.Filled.SentRate
	}
	return q, err
}

// collect waits for the server that has just been started and takes what it kept.
func collect(ctx context.Context, s *process, q *loadgen.Queued, out *Sample) (err error) {
	if out.Restart.Listening, err = s.listening(ctx); err != nil {
		return err
	}
	q.Moved(s.server)
	c, err := q.Collect(ctx)
	if err != nil {
		return err
	}
	out.Value = out.Restart.Listening.Serving.Seconds()
	out.Restart.First, out.Restart.All, out.Restart.Collected = c.First, c.All, c.Result
	out.Broken = c.Result.Broken()
	return nil
}

// syncRate returns how many small synced writes a second the directory's disk does: the bound
// of a server that syncs each message by itself.
func syncRate(dir string) (rate float64, err error) {
	const enough = time.Second / 2
	f, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	began, n, block := time.Now(), 0, make([]byte, 512)
	for ; time.Since(began) < enough; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
