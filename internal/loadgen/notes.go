package loadgen

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// stampBytes is how much of a payload the generator needs for itself: the smallest message.
const stampBytes = 16

// publisherShift leaves 40 bits to a publisher's sequence number.
const publisherShift = 40

// stamp writes publisher, sequence number and intended time to the head of a payload.
func stamp(payload []byte, publisher int, n uint64, intended int64) {
	binary.LittleEndian.PutUint64(payload, uint64(publisher)<<publisherShift|n)
	binary.LittleEndian.PutUint64(payload[8:], uint64(intended))
}

// readStamp undoes stamp; false for a payload that is too short to be ours.
func readStamp(payload []byte) (publisher int, n uint64, intended int64, ok bool) {
	if len(payload) < stampBytes {
		return 0, 0, 0, false
	}
	v := binary.LittleEndian.Uint64(payload)
	return int(v >> publisherShift), v & (1<<publisherShift - 1), int64(binary.LittleEndian.Uint64(payload[8:])), true
}

// bitmap is a set of sequence numbers.
type bitmap []uint64

// add reports whether n is new.
func (b *bitmap) add(n uint64) bool {
	word, bit := int(n/64), uint64(1)<<(n%64)
	for word >= len(*b) {
		*b = append(*b, 0)
	}
	fresh := (*b)[word]&bit == 0
	(*b)[word] |= bit
	return fresh
}

// missingFrom returns how many of b are not in other.
func (b bitmap) missingFrom(other bitmap) (n uint64) {
	for i, word := range b {
		if i < len(other) {
			word &^= other[i]
		}
		n += uint64(bits.OnesCount64(word))
	}
	return n
}

// maxLatency is the longest time told apart; what is longer counts as this.
const maxLatency = time.Minute

// newHistogram counts microseconds with three significant digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, maxLatency.Microseconds(), 3)
}

// notes are what one subscriber got.
type notes struct {
	topics int // of each publisher
	seen   []bitmap
	last   []uint64 // the highest sequence number and 1, by publisher and topic

	received   uint64
	duplicates uint64 // got before, marked as repeated (DUP) or not
	unmarked   uint64 // those of them that were not marked
	disorder   uint64 // new, but after a later one of the same publisher and topic
	foreign    uint64 // not of this run

	from    int64 // latencies of messages meant for an earlier time are not kept
	latency *hdrhistogram.Histogram
}

func newNotes(publishers, topics int) *notes {
	return &notes{
		topics: topics, seen: make([]bitmap, publishers), last: make([]uint64, publishers*topics),
		latency: newHistogram(),
	}
}

// take notes one message that came at the time now, in nanoseconds of the run.
func (s *notes) take(f *frame, now int64) error {
	publisher, n, intended, ok := readStamp(f.payload)
	if !ok || publisher >= len(s.seen) {
		s.foreign++
		return nil
	}
	s.received++
	if !s.seen[publisher].add(n) {
		s.duplicates++
		if !f.again {
			s.unmarked++
		}
		return nil
	}
	at := publisher*s.topics + int(n%uint64(s.topics))
	if n < s.last[at] {
		s.disorder++
	} else {
		s.last[at] = n + 1
	}
	if intended < s.from {
		return nil
	}
	return s.latency.RecordValue(min(max(now-intended, 0)/1000, maxLatency.Microseconds()))
}
