package journal

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// Replay is called by Open for each record, in order. It returns how many live references the record has, and may call
// Release for earlier ones. record is valid during the call only. An error ends Open.
type Replay func(j *Journal, at Position, record []byte) (live int, err error)

// Open reads all segments and calls replay for each record. It then begins a new segment with the last
// batch, of which alone it is not known whether it is on disk; where the disk is full or fails, that is left to Run. What is damaged is logged with
// file and offset, counted, and left out; records after it are replayed. A segment that a newer release wrote is Invalid.
func Open(o Options, replay Replay) (*Journal, error) {
	o = o.withDefaults()
	j := &Journal{
		o: o, log: o.Log, lazy: time.NewTimer(commitAfter),
		wake: make(chan struct{}, 1), dead: make(chan struct{}, 1), ended: make(chan struct{}),
		roomy: make(chan struct{}), first: true, reported: map[string]time.Time{},
	}
	j.lazy.Stop()
	j.reserve.name, j.reserve.size = j.path(reserveName), o.ReserveBytes
	if err := errors.Join(o.FS.MkdirAll(o.Dir), o.FS.SyncDir(filepath.Dir(o.Dir))); err != nil {
		return nil, spec.Errorf(spec.Unavailable, "cannot make the journal's directory: %w", err)
	}
	if err := j.load(replay); err != nil {
		return nil, errors.Join(err, j.closeFiles())
	}
	if err := j.reserve.regain(o.FS, o.Dir, 0); err != nil {
		j.report(err)
		j.full = j.unwritable(err)
	}
	if err := j.flush(); err != nil && j.failed(err) {
		if err := j.flush(); err != nil {
			j.failed(err)
		}
	}
	if len(j.flight.chunks) > 0 {
		signal(j.wake)
	}
	j.gate()
	signal(j.dead)
	return j, nil
}

// load reads what the directory holds.
func (j *Journal) load(replay Replay) error {
	if err := j.find(); err != nil {
		return err
	}
	salt, end := newSalt(), firstPosition
	if n := len(j.segments); n > 0 {
		last := j.segments[n-1]
		salt, end, j.number = last.salt, last.base, last.number
	}
	j.codec = newCodec(salt)
	j.next = end
	j.durable.Store(uint64(end))
	if len(j.segments) == 0 {
		return nil
	}
	r := reader{j: j, replay: replay}
	r.last()
	for i := range j.segments {
		if err := r.segment(i); err != nil {
			return err
		}
	}
	return r.tail()
}

// find lists the segments, in order, and removes leftovers of an earlier run.
func (j *Journal) find() error {
	names, err := j.o.FS.List(j.o.Dir)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the journal's directory: %w", err)
	}
	for _, name := range names {
		n, is := segmentName(name)
		j.names = max(j.names, n)
		switch {
		case is:
			if err := j.identify(j.path(name)); err != nil {
				return err
			}
		case strings.HasSuffix(name, newSuffix), name == reserveName:
			j.clear(j.path(name))
		}
	}
	slices.SortFunc(j.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	j.chain()
	return nil
}

// clear removes a file that is of no use; if that fails it takes up room until the next Open.
func (j *Journal) clear(name string) {
	if err := j.o.FS.Remove(name); err != nil {
		j.report(faulty("remove", name, err))
	}
}

// identify reads a segment's header.
func (j *Journal) identify(name string) error {
	f, err := j.o.FS.Open(name)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot open the journal: %w", err)
	}
	seg := &segment{name: name, file: f}
	if seg.size, err = f.Size(); err != nil {
		return errors.Join(spec.Errorf(spec.Unavailable, "cannot open the journal: %w", err), f.Close())
	}
	head := make([]byte, headerBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(spec.Errorf(spec.Unavailable, "cannot read %q: %w", name, err), f.Close())
	}
	if n == headerBytes && bytes.Equal(head, make([]byte, headerBytes)) { // a spare
		j.clear(name)
		return f.Close()
	}
	var ok bool
	if seg.header, ok = decodeHeader(head[:n]); !ok || seg.base < firstPosition || seg.size > headerBytes+endBytes+2*MaxRecord {
		j.setAside(seg)
		return nil
	}
	if seg.version > version {
		return errors.Join(spec.Errorf(spec.Invalid, "cannot read %q: its format is version %d, this release knows %d", name, seg.version, version).
			WithHint("start the newer release that wrote it"), f.Close())
	}
	j.segments = append(j.segments, seg)
	return nil
}

// setAside renames a file that does not fit in, so that it is neither read nor lost.
func (j *Journal) setAside(seg *segment) {
	aside := seg.name + damagedSuffix
	j.log.Error("a segment of the journal has no readable header: records that it held are missing, the file is kept",
		"file", seg.name, "kept as", aside, "bytes", seg.size)
	if err := errors.Join(seg.close(), faulty("rename", seg.name, j.o.FS.Rename(seg.name, aside))); err != nil {
		j.report(err)
	}
}

// chain sets where each segment ends: where the next one begins. It sets aside what does
// not fit in.
func (j *Journal) chain() {
	kept := j.segments[:0]
	for _, seg := range j.segments {
		if n := len(kept); n > 0 && (seg.base < kept[n-1].base || seg.number == kept[n-1].number || seg.salt != kept[n-1].salt) {
			j.setAside(seg)
			continue
		}
		kept = append(kept, seg)
	}
	j.segments = kept
	for i, seg := range kept[:max(0, len(kept)-1)] {
		seg.end = kept[i+1].base
	}
}

// reader replays the segments of a journal.
type reader struct {
	j      *Journal
	replay Replay
	buf    []byte // of the segment that is read
}

// last finds where the last segment's records end, and puts its last batch in flight.
func (r *reader) last() {
	j := r.j
	seg := j.segments[len(j.segments)-1]
	buf := r.read(seg, seg.size-headerBytes)
	batch, size, torn := j.codec.extent(seg.base, buf)
	if torn {
		lost := int64(len(bytes.TrimRight(buf[size:], "\x00")))
		j.stats.Torn += lost
		j.log.Warn("the journal's end was being written when the power failed or the process ended: cut off what is not whole",
			"file", seg.name, "offset", headerBytes+size, "at most bytes", lost)
	}
	seg.end = seg.base + Position(batch)
	j.durable.Store(uint64(seg.end))
	j.next = seg.base + Position(size)
	if batch < size {
		c := &chunk{base: seg.end, buf: append(make([]byte, 0, size-batch+endBytes), buf[batch:size]...)}
		j.flight = batchOf(c)
		j.undone = int64(len(c.buf))
	}
}

func batchOf(c *chunk) batch { return batch{chunks: []*chunk{c}, bytes: len(c.buf)} }

// extent returns where the last batch in buf begins and ends; torn reports that something
// that is not whole follows. Before the batch there may be damage.
func (c codec) extent(base Position, buf []byte) (batch, size int, torn bool) {
	for size < len(buf) {
		_, n, is := c.frame(base+Position(size), buf[size:])
		switch is {
		case marker:
			batch = size
			size += n
		case record:
			size += n
		default:
			next, ok := c.nextMarker(base, buf, size)
			if !ok {
				return batch, size, is == broken
			}
			batch, size = next, next
		}
	}
	return batch, size, false
}

// read returns n bytes of the segment from its base on, fewer if it has no more.
func (r *reader) read(seg *segment, n int64) []byte {
	n = min(n, max(0, seg.size-headerBytes))
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	buf := r.buf[:n]
	got, _, err := seg.readAt(buf, seg.base)
	if err != nil {
		r.salvage(seg, buf, err)
		return buf
	}
	return buf[:got]
}

// salvage reads the parts of a segment that can be read; the others are zeros, which pass for no record.
func (r *reader) salvage(seg *segment, buf []byte, cause error) {
	const block = 4 << 10
	lost := 0
	for i := 0; i < len(buf); i += block {
		part := buf[i:min(i+block, len(buf))]
		if _, _, err := seg.readAt(part, seg.base+Position(i)); err != nil {
			clear(part)
			lost += len(part)
		}
	}
	r.j.log.Error("the disk cannot read a segment of the journal", "file", seg.name, "bytes", lost, "error", cause)
}

// segment replays the i-th segment.
func (r *reader) segment(i int) error {
	j := r.j
	seg := j.segments[i]
	want := int64(seg.end - seg.base)
	buf := r.read(seg, want)
	err := j.walk(seg, buf, func(at Position, body []byte) error { return r.one(&seg.usage, at, body) })
	if missing := want - int64(len(buf)); err == nil && missing > 0 {
		j.damaged(seg, int64(len(buf)), missing, "records are missing")
	}
	return err
}

// tail replays the batch in flight.
func (r *reader) tail() error {
	for _, c := range r.j.flight.chunks {
		err := r.j.walk(nil, c.buf, func(at Position, body []byte) error { return r.one(&c.usage, at, body) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) one(u *usage, at Position, body []byte) error {
	live, err := r.replay(r.j, at, body)
	u.add(live, frameBytes+len(body))
	return err
}

// walk calls use for each record in buf, which is the segment's, or the batch in flight.
// What is damaged is reported and left out.
func (j *Journal) walk(seg *segment, buf []byte, use func(at Position, body []byte) error) error {
	base := j.Durable()
	if seg != nil {
		base = seg.base
	}
	for i := 0; i < len(buf); {
		at := base + Position(i)
		body, n, is := j.codec.frame(at, buf[i:])
		switch is {
		case marker:
		case record:
			if err := use(at, body); err != nil {
				return err
			}
		default:
			n = j.codec.resync(base, buf, i+1) - i
			j.damaged(seg, int64(i), int64(n), "records are damaged")
		}
		i += n
	}
	return nil
}

// damaged reports bytes of a segment that were durable once and cannot be read any more.
func (j *Journal) damaged(seg *segment, from, n int64, what string) {
	j.mu.Lock()
	j.stats.Lost += n
	j.mu.Unlock()
	name := ""
	if seg != nil {
		name = seg.name
	}
	j.log.Error("the journal is damaged: "+what+", and left out", "file", name, "offset", headerBytes+from, "bytes", n)
}
