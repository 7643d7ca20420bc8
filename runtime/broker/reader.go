package broker

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mochi-mqtt/server/v2/packets"
)

// reader cuts the packets out of a connection. On a socket it holds a buffer only while there
// is something to read, so that an idle connection costs none.
type reader struct {
	nc      net.Conn
	raw     syscall.RawConn // nil: it is no plain socket
	counter *atomic.Int64   // bytes read
	buf     []byte          // nil, or pooled, or its own; buf[r:w] is not handled
	r, w    int
	old     bool // MQTT 3.1: SUBSCRIBE, UNSUBSCRIBE and PUBREL may be marked as repeated
	starved bool // the socket had no more, in the middle of a packet
	much    int8 // above 0: more came lately than a small buffer holds
	need    int  // the size of the packet that has begun, as far as it is known

	late     func() bool                          // called when the deadline has passed: may the client have more time?
	budget   func(n int) (back func(), err error) // grants the memory for a large body, and limits the time to read it
	refresh  func() error                         // ends that time
	giveBack func()                               // what budget has granted to the packet in hand

	// of one attempt on the socket
	attempt func(fd uintptr) bool
	n       int
	err     error
}

const (
	readAhead    = 64 << 10 // what is read in one call
	smallPacket  = 8 << 10  // the beginning of a packet up to this size may wait for the rest for as long as it likes
	muchReads    = 16       // a connection on which much has come keeps to large buffers for so many reads
	ownReadAhead = 4 << 10  // where the buffer cannot be given back while waiting
)

var readBuffers = sync.Pool{New: func() any { return new([readAhead]byte) }}

func newReader(nc net.Conn, counter *atomic.Int64) *reader {
	r := &reader{nc: nc, counter: counter}
	if raw := rawOf(nc); raw != nil {
		r.raw, r.attempt = raw, r.try
	}
	return r
}

// idle reports whether the next packet, or the rest of it, has yet to be read.
func (r *reader) idle() bool {
	_, header, length, err := r.header()
	return err == nil && (header == 0 || header+length > r.w-r.r)
}

// packet returns the next packet. Its body is valid until the next call.
func (r *reader) packet(limit int) (first byte, body []byte, err error) {
	for {
		first, header, length, err := r.header()
		total := header + length
		switch {
		case err != nil:
			return 0, nil, err
		case header > 0 && total > limit:
			return 0, nil, packets.ErrPacketTooLarge
		case header > 0 && total <= r.w-r.r:
			body := r.buf[r.r+header : r.r+total]
			r.r += total
			r.need = 0
			return first, body, nil
		case header > 0 && r.tooLarge(total):
			r.r += header
			body, err := r.large(length)
			return first, body, err
		}
		if err := r.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// header is packetHeader for the packet in hand.
func (r *reader) header() (first byte, header, length int, err error) {
	data := r.buf[r.r:r.w]
	if r.old && len(data) > 0 && data[0]&flagDup != 0 {
		switch data[0] >> 4 {
		case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
			data[0] &^= flagDup // it makes no difference (MQTT 3.1, 2.1)
		}
	}
	return packetHeader(data)
}

// tooLarge reports whether a packet that has begun needs memory of its own: it does not fit
// into a buffer, or would keep one from others while the rest is waited for.
func (r *reader) tooLarge(total int) bool {
	r.need = total
	if r.raw == nil {
		return total > ownReadAhead
	}
	return total > readAhead || r.starved && total > smallPacket
}

// packetHeader decodes the fixed header (MQTT 5.0, 2.1); header 0 says that more is needed.
func packetHeader(data []byte) (first byte, header, length int, err error) {
	if len(data) > 0 {
		if err := checkFlags(data[0]); err != nil {
			return 0, 0, 0, err
		}
	}
	for i := 1; i < len(data) && i <= 4; i++ {
		length |= int(data[i]&0x7F) << (7 * (i - 1))
		if data[i]&0x80 == 0 {
			if data[i] == 0 && i > 1 {
				return 0, 0, 0, packets.ErrMalformedVariableByteInteger // longer than needed [MQTT-1.5.5-1]
			}
			return data[0], i + 1, length, nil
		}
	}
	if len(data) > 4 {
		return 0, 0, 0, packets.ErrMalformedVariableByteInteger
	}
	return 0, 0, 0, nil
}

// checkFlags checks the reserved flags of the first byte (MQTT 5.0, 2.1.3).
func checkFlags(first byte) error {
	switch first >> 4 {
	case packets.Reserved:
		return packets.ErrMalformedPacket
	case packets.Publish:
		if first>>1&3 == 3 {
			return packets.ErrMalformedFlags
		}
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if first&15 != 2 {
			return packets.ErrMalformedFlags
		}
	default:
		if first&15 != 0 {
			return packets.ErrMalformedFlags
		}
	}
	return nil
}

// large reads a body that comes in parts, with memory out of a budget that all share.
func (r *reader) large(length int) ([]byte, error) {
	r.starved, r.need = false, 0
	head := bytes.Clone(r.buf[r.r:r.w])
	r.r, r.w = 0, 0
	r.release()
	back, err := r.budget(length)
	if err != nil {
		return nil, err
	}
	r.giveBack = back
	body := append(make([]byte, 0, min(length, readAhead)), head...)
	for len(body) < length {
		if len(body) == cap(body) { // when so much has come, not on the client's word
			body = append(make([]byte, 0, length), body...)
		}
		n, err := r.nc.Read(body[len(body):cap(body)])
		r.counter.Add(int64(n))
		body = body[:len(body)+n]
		if err != nil {
			return nil, err
		}
	}
	return body, r.refresh()
}

// fill waits for bytes and reads what there is.
func (r *reader) fill() error {
	if r.giveBack != nil {
		r.giveBack() // the large packet before has been handled
		r.giveBack = nil
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
		r.release()
	} else if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.raw == nil {
		return r.fillOwn()
	}
	if r.starved && r.w > 0 {
		r.shrink()
	}
	if err := r.raw.Read(r.attempt); err != nil {
		if r.goesOn(err) {
			return nil
		}
		return err
	}
	r.counter.Add(int64(r.n))
	r.w += r.n
	return r.err
}

// shrink leaves the beginning of a small packet in a buffer of its size while the rest is waited for.
func (r *reader) shrink() {
	if cap(r.buf) == readAhead {
		small := append(make([]byte, 0, max(r.w, 16)), r.buf[:r.w]...)
		r.release()
		r.buf = small
	}
}

func (r *reader) fillOwn() error {
	if r.buf == nil {
		r.buf = make([]byte, ownReadAhead)
	}
	n, err := r.nc.Read(r.buf[r.w:])
	r.counter.Add(int64(n))
	r.w += n
	if n > 0 || err == nil || r.goesOn(err) {
		return nil
	}
	return err
}

// goesOn reports whether reading goes on after an error: a deadline has passed, and there is a later one.
func (r *reader) goesOn(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && r.late != nil && r.late()
}

// try is one attempt to read from the socket; false waits until there is something.
func (r *reader) try(fd uintptr) bool {
	part := r.buf
	r.grow()
	var again bool
	r.n, again, r.err = readSocket(fd, r.buf[r.w:])
	if !again {
		if cap(part) == smallBuffer && cap(r.buf) != smallBuffer {
			smallBuffers.Put((*[smallBuffer]byte)(part[:smallBuffer]))
		}
		r.starved = false
		if r.n >= smallBuffer || r.n == len(r.buf)-r.w {
			r.much = muchReads
		} else if r.much > 0 {
			r.much--
		}
		return true
	}
	if r.w > 0 && !r.starved {
		r.starved = true // what came is the beginning of a packet: packet decides what to keep it in
		return true
	}
	if r.w == 0 {
		r.release()
	} else if cap(part) < cap(r.buf) {
		r.release()
		r.buf = part
	}
	return false // and wait
}

// grow makes sure of a buffer for what has begun: a small one, unless much comes. The
// beginning stays valid in the buffer that it replaces too.
func (r *reader) grow() {
	part := r.buf
	switch {
	case r.need > smallBuffer || r.much > 0 && r.w == 0 || r.w >= smallBuffer:
		if cap(part) == readAhead {
			return
		}
		r.buf = readBuffers.Get().(*[readAhead]byte)[:]
	case cap(part) >= smallBuffer:
		return
	default:
		r.buf = smallBuffers.Get().(*[smallBuffer]byte)[:]
	}
	copy(r.buf, part[:r.w])
}

// release gives the buffer back.
func (r *reader) release() {
	if r.raw == nil {
		return
	}
	switch cap(r.buf) {
	case readAhead:
		readBuffers.Put((*[readAhead]byte)(r.buf[:readAhead]))
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(r.buf[:smallBuffer]))
	}
	r.buf = nil
}

// end gives everything back.
func (r *reader) end() {
	r.release()
	if r.giveBack != nil {
		r.giveBack()
		r.giveBack = nil
	}
}
