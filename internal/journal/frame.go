package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A segment file is a header and then frames. A frame is a checksum, a word that says what
// follows, and the body:
//
//	checksum u32  word = length of the body + 1   body          a record
//	checksum u32  word = markerWord               nonce u64     a marker
//	0             0                                             here the records end
//
// All numbers are little-endian. The checksum is a CRC-32C of word and body, begun with a
// value made of the frame's position and the journal's salt: a frame that lies at another
// place, of another journal, or within a record's own bytes, never passes for one.
//
// A marker begins each batch that is written and synced together. The batch is written
// only when the one before is on disk; so a marker proves that everything before it was on
// disk once, and what is not there now was damaged, not cut off by a failing power supply.
const (
	frameBytes  = 8
	markerBytes = frameBytes + 8
	endBytes    = frameBytes
	markerWord  = math.MaxUint32
)

// MaxRecord is the length of the largest record.
const MaxRecord = 1 << 30

type kind int

const (
	broken kind = iota // not a frame of this journal at this position
	record
	marker
	end // nothing was written here
)

// codec knows a journal's salt.
type codec struct {
	salt  uint64
	table *crc32.Table
}

func newCodec(salt uint64) codec {
	return codec{salt: salt, table: crc32.MakeTable(crc32.Castagnoli)}
}

// mix spreads the position over 64 bits.
func (c codec) mix(at Position) uint64 {
	x := (uint64(at) ^ c.salt) * 0x9e3779b97f4a7c15
	return x ^ x>>32
}

// sum returns the checksum of a frame; data begins with its word.
func (c codec) sum(at Position, data []byte) uint32 {
	return crc32.Update(uint32(c.mix(at)), c.table, data)
}

func (c codec) nonce(at Position) uint64 { return ^c.mix(at) }

// seal fills in the checksums of the frames that buf holds; the first is at base.
func (c codec) seal(base Position, buf []byte) {
	for i := 0; i < len(buf); {
		size := markerBytes
		if word := binary.LittleEndian.Uint32(buf[i+4:]); word != markerWord {
			size = frameBytes + int(word) - 1
		}
		binary.LittleEndian.PutUint32(buf[i:], c.sum(base+Position(i), buf[i+4:i+size]))
		i += size
	}
}

// frame reads the frame at the beginning of buf; size is 0 unless it is a record or marker.
func (c codec) frame(at Position, buf []byte) (body []byte, size int, is kind) {
	if len(buf) < frameBytes {
		if len(bytes.TrimLeft(buf, "\x00")) == 0 {
			return nil, 0, end
		}
		return nil, 0, broken
	}
	checksum, word := binary.LittleEndian.Uint32(buf), binary.LittleEndian.Uint32(buf[4:])
	size = frameBytes + int(word) - 1
	switch {
	case word == 0 && checksum == 0:
		return nil, 0, end
	case word == markerWord:
		size = markerBytes
	case word == 0 || word-1 > MaxRecord:
		return nil, 0, broken
	}
	if size > len(buf) || c.sum(at, buf[4:size]) != checksum {
		return nil, 0, broken
	}
	if word != markerWord {
		return buf[frameBytes:size], size, record
	}
	if binary.LittleEndian.Uint64(buf[frameBytes:]) != c.nonce(at) {
		return nil, 0, broken
	}
	return nil, size, marker
}

// nextMarker returns where in buf, whose first byte is at base, the first marker at or after
// from begins.
func (c codec) nextMarker(base Position, buf []byte, from int) (int, bool) {
	word := []byte{0xff, 0xff, 0xff, 0xff}
	for i := from; i+markerBytes <= len(buf); i++ {
		n := bytes.Index(buf[i+4:], word)
		if n < 0 {
			return 0, false
		}
		i += n
		if _, _, is := c.frame(base+Position(i), buf[i:]); is == marker {
			return i, true
		}
	}
	return 0, false
}

// resyncBudget bounds how many bytes are summed in the search for the next good frame.
const resyncBudget = 1 << 30

// resync returns where in buf the first frame after from begins that is good, and followed
// by another good one or the end of buf; len(buf) if none is found.
func (c codec) resync(base Position, buf []byte, from int) int {
	budget := resyncBudget
	for i := from; i+frameBytes <= len(buf) && budget > 0; i++ {
		word := int64(binary.LittleEndian.Uint32(buf[i+4:]))
		size := frameBytes + word - 1
		if word == markerWord {
			size = markerBytes
		}
		budget -= frameBytes
		if word == 0 || size > int64(len(buf)-i) {
			continue
		}
		budget -= int(size)
		if _, n, is := c.frame(base+Position(i), buf[i:]); is == record || is == marker {
			if i+n == len(buf) {
				return i
			}
			if _, _, next := c.frame(base+Position(i+n), buf[i+n:]); next == record || next == marker {
				return i
			}
		}
	}
	return len(buf)
}
