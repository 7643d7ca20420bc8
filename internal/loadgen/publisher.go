package loadgen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// publisher sends from one connection. Its frames are encoded once, in a ring: a message costs
// the writing of its number and time, and many go out in one write.
type publisher struct {
	*link
	run    *run
	number int

	ring      []byte // frames of equal length, each with its topic
	stride    int
	frames    uint64
	idAt      int // in a frame; -1: no packet id
	payloadAt int
	window    int64 // 0: none

	wake     chan struct{} // holds a token when there may be something to send
	begun    atomic.Uint64 // messages whose write has begun
	sent     atomic.Uint64 // messages written
	inflight atomic.Int64
	acked    atomic.Uint64
	confirm  bitmap // of the acknowledging goroutine: what the server has acknowledged
}

// ringBytes is the most that goes out in one write.
const ringBytes = 64 << 10

func newPublisher(r *run, l *link, number int) (*publisher, error) {
	s := r.scenario
	p := &publisher{link: l, run: r, number: number, wake: make(chan struct{}, 1)}
	for n := range s.Topics {
		at := len(p.ring)
		p.ring, p.idAt, p.payloadAt = l.wire.message(p.ring, l.wire.topic(number, n), s.Size, s.QoS)
		if stride := len(p.ring) - at; p.stride != 0 && stride != p.stride {
			return nil, fmt.Errorf("cannot use %d topics: their names differ in length", s.Topics)
		}
		p.stride = len(p.ring) - at
		p.payloadAt -= at
		if p.idAt >= 0 {
			p.idAt -= at
		}
	}
	once := p.ring
	for len(p.ring)+len(once) <= ringBytes {
		p.ring = append(p.ring, once...)
	}
	p.frames = uint64(len(p.ring) / p.stride)
	if s.QoS > 0 {
		p.window = int64(s.Window)
		if l.inflight > 0 {
			p.window = min(p.window, int64(l.inflight))
		}
	}
	return p, nil
}

// signal says that there may be something to send.
func (p *publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// send sends until stop ends or all is sent.
func (p *publisher) send(stop context.Context) error {
	for stop.Err() == nil {
		n := p.begun.Load()
		if count := p.run.scenario.Count; count > 0 && n >= uint64(count) {
			return nil
		}
		k := p.due(n)
		if k == 0 {
			select {
			case <-stop.Done():
			case <-p.wake:
			}
			continue
		}
		if err := p.write(n, k); err != nil {
			return fmt.Errorf("cannot publish: %w", err)
		}
	}
	return nil
}

// due returns how many messages from number n on may go out now, in one write.
func (p *publisher) due(n uint64) uint64 {
	k := p.frames - n%p.frames
	if count := p.run.scenario.Count; count > 0 {
		k = min(k, uint64(count)-n)
	}
	if p.window > 0 {
		k = min(k, uint64(max(0, p.window-p.inflight.Load())))
	}
	if p.run.interval > 0 {
		by := p.run.scheduled(p.number, p.run.now())
		k = min(k, by-min(n, by))
	}
	return k
}

// write sends k messages from number n on.
func (p *publisher) write(n, k uint64) error {
	at := int(n%p.frames) * p.stride
	batch := p.ring[at : at+int(k)*p.stride]
	now := p.run.now()
	for i := range k {
		f := batch[int(i)*p.stride:]
		intended := now
		if p.run.interval > 0 {
			intended = p.run.intended(p.number, n+i)
		}
		stamp(f[p.payloadAt:], p.number, n+i, intended)
		if p.idAt >= 0 {
			binary.BigEndian.PutUint16(f[p.idAt:], packetID(n+i))
		}
	}
	if p.window > 0 {
		p.inflight.Add(int64(k))
	}
	p.begun.Add(k)
	if _, err := p.Write(batch); err != nil {
		return err
	}
	p.sent.Add(k)
	return nil
}

// idsPerRound is how many packet ids there are: 1 to 65535.
const idsPerRound = 65535

func packetID(n uint64) uint16 { return uint16(n%idsPerRound) + 1 }

// numberOf returns the latest message, of those begun, that has the packet id. A window is
// smaller than a round, so it is the one in flight.
func numberOf(id uint16, begun uint64) (n uint64, ok bool) {
	if id == 0 || begun == 0 {
		return 0, false
	}
	last := begun - 1
	back := (last%idsPerRound + idsPerRound - uint64(id-1)) % idsPerRound
	return last - min(back, last), back <= last
}

// confirmations reads what the server answers, until the connection ends.
func (p *publisher) confirmations() error {
	var f frame
	var out []byte
	for {
		if err := p.fill(); err != nil {
			return err
		}
		acked := uint64(0)
		for {
			ok, err := p.next(&f)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			out = p.wire.answer(out, &f)
			if f.kind != kindAck {
				continue
			}
			if err := p.confirmed(f.id); err != nil {
				return err
			}
			acked++
		}
		if acked > 0 {
			p.acked.Add(acked)
			p.inflight.Add(-int64(acked))
			p.signal()
		}
		if len(out) > 0 {
			if _, err := p.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

func (p *publisher) confirmed(id uint16) error {
	n, ok := numberOf(id, p.begun.Load())
	if !ok || !p.confirm.add(n) {
		return errors.New("cannot make sense of an acknowledgement: nothing with its packet id is in flight")
	}
	return nil
}
