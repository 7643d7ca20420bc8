package loadgen

import "time"

// pulse beats at a fixed interval. Wait returns after one beat or several that were missed,
// or when stop was called.
type pulse interface {
	wait() error
	stop() error
}

// tickerPulse is the pulse of Go's timers, good to about a millisecond.
type tickerPulse struct {
	*time.Ticker
	stopped chan struct{}
}

func newTickerPulse(interval time.Duration) pulse {
	return &tickerPulse{Ticker: time.NewTicker(interval), stopped: make(chan struct{})}
}

func (p *tickerPulse) wait() error {
	select {
	case <-p.C:
	case <-p.stopped:
	}
	return nil
}

func (p *tickerPulse) stop() error {
	p.Stop()
	close(p.stopped)
	return nil
}
