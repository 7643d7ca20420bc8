package loadgen

import (
	"context"
	"sync/atomic"
)

// subscriber gets messages on one connection and notes them.
type subscriber struct {
	*link
	run    *run
	number int
	id     string
	notes  *notes

	received   atomic.Uint64
	reconnects atomic.Uint64
	reason     error // of the first reconnect
}

// receive notes messages until ctx ends. Where the server ends the connection, as NATS does
// with a consumer that is too slow, the subscriber comes back.
func (s *subscriber) receive(ctx context.Context) error {
	for {
		err := s.read()
		if ctx.Err() != nil {
			return nil
		}
		if s.reconnects.Add(1) == 1 {
			s.reason = err
		}
		l, err := s.run.subscribe(ctx, s.number, s.id, false)
		if err != nil {
			return err
		}
		s.run.replace(s, l)
	}
}

// read notes messages until the connection ends. One look at the clock serves all messages
// that came in one read: they have arrived at that time, whenever they are decoded.
func (s *subscriber) read() error {
	var f frame
	var out []byte
	for {
		now := s.run.now()
		for {
			ok, err := s.next(&f)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if f.kind == kindMessage {
				if err := s.notes.take(&f, now); err != nil {
					return err
				}
			}
			out = s.wire.answer(out, &f)
		}
		s.received.Store(s.notes.received)
		if len(out) > 0 {
			if _, err := s.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}
