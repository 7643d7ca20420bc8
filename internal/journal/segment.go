package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"sync"
	"time"
)

// The header of a segment file, little-endian:
//
//	magic [8]  version u32  (0) u32  number u64  base u64  salt u64  (0) [20]  checksum u32
//
// Segments are put in order by their numbers, which ascend. One whose records a later one
// begins with again, because it has the same base or one within, ends there.
const (
	headerBytes    = 64
	headerSum      = headerBytes - 4
	magic          = "mwjournl"
	version        = 1
	firstPosition  = Position(headerBytes) // so that in a journal's first file positions are offsets
	segmentSuffix  = ".segment"
	newSuffix      = ".new"     // a segment that is not whole yet
	damagedSuffix  = ".damaged" // a segment whose header could not be read: kept for people
	reserveName    = "reserve"
	segmentPattern = "%016x" + segmentSuffix
)

// header is what stands at the beginning of a segment file.
type header struct {
	version uint32
	number  uint64
	base    Position
	salt    uint64
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], h.version)
	binary.LittleEndian.PutUint64(b[16:], h.number)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.base))
	binary.LittleEndian.PutUint64(b[32:], h.salt)
	binary.LittleEndian.PutUint32(b[headerSum:], headerChecksum(b))
	return b
}

// decodeHeader reports false for what is not a whole header.
func decodeHeader(b []byte) (header, bool) {
	if len(b) < headerBytes || string(b[:8]) != magic || headerChecksum(b) != binary.LittleEndian.Uint32(b[headerSum:]) {
		return header{}, false
	}
	return header{
		version: binary.LittleEndian.Uint32(b[8:]),
		number:  binary.LittleEndian.Uint64(b[16:]),
		base:    Position(binary.LittleEndian.Uint64(b[24:])),
		salt:    binary.LittleEndian.Uint64(b[32:]),
	}, true
}

func headerChecksum(b []byte) uint32 {
	return crc32.Checksum(b[:headerSum], crc32.MakeTable(crc32.Castagnoli))
}

// segment is a file of the journal. What is not said otherwise is guarded by the journal's lock.
type segment struct {
	usage
	header
	name   string    // path
	end    Position  // of its records: those below are durable, and read here
	size   int64     // of the file
	begun  bool      // its header is on disk
	broken bool      // a write or sync of it failed: it is never written again
	retry  time.Time // when compacting it is worth another attempt

	open sync.RWMutex // held to read while reading
	file File         // nil when closed
}

func (s *segment) offset(at Position) int64 { return headerBytes + int64(at-s.base) }

// readAt reads from at on until buf is full or the file ends; ok is false when the file is closed.
func (s *segment) readAt(buf []byte, at Position) (n int, ok bool, err error) {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.file == nil {
		return 0, false, nil
	}
	n, err = s.file.ReadAt(buf, s.offset(at))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, true, err
}

// close waits for those who read.
func (s *segment) close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return faulty("close", s.name, f.Close())
}

func (j *Journal) path(name string) string { return filepath.Join(j.o.Dir, name) }

// segmentName returns the number with which the name of a segment begins, 0 for another
// file's, and whether that is the name of one that holds records, or will.
func segmentName(name string) (n uint64, is bool) {
	if _, err := fmt.Sscanf(name, segmentPattern, &n); err != nil {
		return 0, false
	}
	return n, name == fmt.Sprintf(segmentPattern, n)
}
