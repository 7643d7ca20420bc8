package journal

import (
	"encoding/binary"
	"sort"

	"github.com/millwright/millwright/internal/spec"
)

// smallRead is how much is read at first: most records are shorter.
const smallRead = 2048

// Read returns a fresh copy of the record at a position, which Append or replay gave, whether it is durable or not.
// It fails with NotFound if the record was deleted, or damaged and reported by Open, and with Internal if it cannot be read or
// its checksum is wrong now.
func (j *Journal) Read(at Position) ([]byte, error) {
	j.mu.Lock()
	if uint64(at) >= j.durable.Load() {
		body, err := j.readPending(at)
		j.mu.Unlock()
		return body, err
	}
	seg := j.segmentOf(at)
	var end Position
	if seg != nil {
		end = seg.end
	}
	j.mu.Unlock()
	if seg == nil {
		return nil, errNoRecord(at)
	}
	body, err := j.readSegment(seg, at, int64(end-at))
	if err != nil {
		return nil, spec.Errorf(spec.KindOf(err), "cannot read record %d of %q: %w", at, seg.name, err)
	}
	return body, nil
}

// readSegment reads a frame of at most limit bytes.
func (j *Journal) readSegment(seg *segment, at Position, limit int64) ([]byte, error) {
	small, _ := j.small.Get().(*[smallRead]byte)
	if small == nil {
		small = new([smallRead]byte)
	}
	defer j.small.Put(small)
	buf, err := read(seg, small[:min(smallRead, limit)], at)
	if err != nil {
		return nil, err
	}
	if len(buf) >= frameBytes {
		if size := int64(binary.LittleEndian.Uint32(buf[4:])) + frameBytes - 1; size > int64(len(buf)) && size <= limit {
			if buf, err = read(seg, make([]byte, size), at); err != nil {
				return nil, err
			}
		}
	}
	body, _, is := j.codec.frame(at, buf)
	if is != record {
		return nil, spec.Errorf(spec.Internal, "%w", ErrDamaged)
	}
	if len(buf) <= smallRead {
		return append(make([]byte, 0, len(body)), body...), nil
	}
	return body, nil
}

// read returns what the file has of buf.
func read(seg *segment, buf []byte, at Position) ([]byte, error) {
	n, ok, err := seg.readAt(buf, at)
	if !ok {
		return nil, spec.Errorf(spec.NotFound, "its file is closed")
	}
	return buf[:n], err
}

// readPending reads what is not durable. The caller has the lock.
func (j *Journal) readPending(at Position) ([]byte, error) {
	c := j.chunkOf(at)
	if c == nil {
		return nil, errNoRecord(at)
	}
	frame := c.buf[at-c.base:]
	if len(frame) < frameBytes {
		return nil, errNoRecord(at)
	}
	word := binary.LittleEndian.Uint32(frame[4:])
	if word == 0 || word == markerWord || int64(word)+frameBytes-1 > int64(len(frame)) {
		return nil, errNoRecord(at)
	}
	body := frame[frameBytes : frameBytes+int(word)-1]
	return append(make([]byte, 0, len(body)), body...), nil
}

func errNoRecord(at Position) error {
	return spec.Errorf(spec.NotFound, "cannot read record %d: the journal does not have it", at)
}

// chunkOf returns the chunk that holds the position; nil if none does. The caller has the lock.
func (j *Journal) chunkOf(at Position) *chunk {
	for _, chunks := range [...][]*chunk{j.flight.chunks, j.pending.chunks} {
		i := sort.Search(len(chunks), func(i int) bool { return chunks[i].end() > at })
		if i < len(chunks) && chunks[i].base <= at {
			return chunks[i]
		}
	}
	return nil
}

// segmentOf returns the segment whose records include the position; nil if none does. The caller has the lock.
func (j *Journal) segmentOf(at Position) *segment {
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].base > at })
	if i == 0 || j.segments[i-1].end <= at {
		return nil
	}
	return j.segments[i-1]
}

// Release says that there is one reference less to the record. What is appended before it,
// and tells why, is on disk before anything is deleted. A position that the journal does
// not have (it was deleted, or damaged) is ignored.
func (j *Journal) Release(at Position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var u *usage
	if uint64(at) >= j.durable.Load() {
		if c := j.chunkOf(at); c != nil {
			u = &c.usage
		}
	} else if seg := j.segmentOf(at); seg != nil {
		u = &seg.usage
	}
	if u == nil || u.live == 0 {
		return
	}
	u.live--
	u.touched = j.next
	if u.live == 0 && len(j.segments) > 0 && u == &j.segments[0].usage {
		signal(j.dead)
	}
}
