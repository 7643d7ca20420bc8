package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"
)

// Scenario is one load. What is zero takes the default that is given with it.
type Scenario struct {
	Server Server

	Publishers  int  // 1
	Subscribers int  // 1
	Pairs       bool // subscriber i gets what publisher i sends; else each gets everything
	Topics      int  // of each publisher; 1
	Wildcard    bool // subscribe with one filter for everything, not with each topic

	Size       int  // bytes of payload; 64, at least 16
	QoS        byte // of messages and subscriptions
	Persistent bool // the sessions of subscribers, and of publishers at QoS 2, outlive their connections
	Window     int  // messages of one publisher that may be unacknowledged; 100

	// Rate, in messages a second over all publishers, makes an open loop: each message has its
	// time, whether or not the server keeps up. With 0 each publisher sends as fast as its
	// window, or its socket, lets it.
	Rate     float64
	Count    int           // messages of each publisher; 0: until Duration has passed
	Warmup   time.Duration // counted in nothing but the messages' whereabouts
	Duration time.Duration // 5 s where Count is 0
	Drain    time.Duration // the longest wait for what is under way at the end; 10 s

	PID int // of the server, whose CPU time and memory are reported; 0: neither

	environment environment
}

// environment is what a run has from the outside.
type environment struct {
	dial  func(ctx context.Context, address string) (net.Conn, error)
	pulse func(time.Duration) (pulse, error)
}

// withDefaults fills in what is zero, and refuses what contradicts itself.
func (s Scenario) withDefaults() (Scenario, error) {
	s.Publishers, s.Subscribers = cmp.Or(s.Publishers, 1), cmp.Or(s.Subscribers, 1)
	s.Topics, s.Size = cmp.Or(s.Topics, 1), cmp.Or(s.Size, 64)
	s.Window, s.Drain = cmp.Or(s.Window, 100), cmp.Or(s.Drain, 10*time.Second)
	if s.Count == 0 {
		s.Duration = cmp.Or(s.Duration, 5*time.Second)
	}
	if s.environment.dial == nil {
		s.environment.dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if s.environment.pulse == nil {
		s.environment.pulse = newPulse
	}
	switch {
	case s.Publishers < 0 || s.Subscribers < 0 || s.Topics < 0 || s.Window < 0 || s.Count < 0 || s.Rate < 0:
		return s, fmt.Errorf("cannot run a load with a negative number in it: %+v", s)
	case s.Publishers >= 1<<(64-publisherShift):
		return s, fmt.Errorf("cannot run %d publishers: at most %d", s.Publishers, 1<<(64-publisherShift)-1)
	case s.Pairs && s.Publishers != s.Subscribers:
		return s, fmt.Errorf("cannot pair %d publishers with %d subscribers: give as many of each", s.Publishers, s.Subscribers)
	case s.Size < stampBytes:
		return s, fmt.Errorf("cannot send messages of %d bytes: at least %d, for the time and the sequence number", s.Size, stampBytes)
	case s.QoS > 2 || s.QoS > 0 && s.Server.Protocol == NATS:
		return s, fmt.Errorf("cannot speak %s with QoS %d", s.Server.Protocol, s.QoS)
	case s.Window >= 1<<15:
		return s, fmt.Errorf("cannot keep %d messages in flight: at most %d", s.Window, 1<<15-1)
	}
	return s, nil
}

// filters returns what subscriber i asks for.
func (s *Scenario) filters(w wire, i int) []string {
	if s.Wildcard {
		return []string{w.everything()}
	}
	first, last := 0, s.Publishers
	if s.Pairs {
		first, last = i, i+1
	}
	var out []string
	for p := first; p < last; p++ {
		for n := range s.Topics {
			out = append(out, w.topic(p, n))
		}
	}
	return out
}

// connect dials and logs in.
func (s *Scenario) connect(ctx context.Context, w wire, id string, clean bool, buffer int) (*link, error) {
	c, err := dial(ctx, &s.Server, s.environment.dial)
	if err != nil {
		return nil, err
	}
	l := newLink(c, w, buffer)
	if err := l.login(&s.Server, id, clean); err != nil {
		return nil, fmt.Errorf("cannot log in as client %q: %w", id, closing(c, err))
	}
	return l, nil
}
