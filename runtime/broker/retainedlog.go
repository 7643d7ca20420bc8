package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
)

// The retained messages' file is a log of the last value of each topic that changed, written
// every persistEvery, and at once where a client waits for its acknowledgement (QoS 1 and 2);
// all who wait at the same time wait for one write. It is written anew when it has grown to
// twice what it must hold. After kill -9 of the process nothing acknowledged is missing, and
// of the rest the last persistEvery. The file is synced when written anew and at a graceful
// stop only: a loss of power may take what the operating system had not written back, even
// if it was acknowledged. Each record carries a checksum; what follows the first broken one
// is ignored, and said so.
const (
	retainedFile   = "retained.log"
	retainedMagic  = "millwright retained 1\n"
	persistEvery   = 200 * time.Millisecond
	compactMinimum = 4 << 20
	maxRecord      = 512 << 20
)

// record is one line of the log: a header as JSON, then the payload. No payload: removed.
type record struct {
	Topic   string              `json:"topic"`
	QoS     byte                `json:"qos,omitempty"`
	Expires time.Time           `json:"expires,omitzero"`
	Props   *packets.Properties `json:"props,omitempty"`
}

// openRetained reads what dir holds.
func openRetained(dir string, limits Limits, log *slog.Logger) (*retained, error) {
	r := &retained{
		maxMessages: limits.RetainedMessages, maxBytes: limits.RetainedBytes, log: log, dir: dir,
		messages: map[string]*message{}, system: map[string]*message{}, dirty: map[string]struct{}{},
		wanted: make(chan struct{}, 1),
	}
	f, err := os.Open(r.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, spec.Errorf(spec.Invalid, "cannot read the retained messages: %w", err)
	}
	if err := r.read(f); err != nil {
		log.Error("the retained messages' file is damaged: what follows is ignored", "file", r.path(), "read", len(r.messages), "error", err)
	}
	clear(r.dirty)
	return r, f.Close()
}

func (r *retained) path() string { return filepath.Join(r.dir, retainedFile) }

func (r *retained) read(f io.Reader) error {
	in := bufio.NewReader(f)
	magic := make([]byte, len(retainedMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != retainedMagic {
		return errors.New("it does not begin as such a file does")
	}
	for {
		m, err := readRecord(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.set(m)
	}
}

// readRecord returns io.EOF only between two records.
func readRecord(in io.Reader) (*message, error) {
	var frame [12]byte // length of the header, length of the payload, CRC-32C of both
	if _, err := io.ReadFull(in, frame[:]); err != nil {
		return nil, err
	}
	header, payload := binary.BigEndian.Uint32(frame[0:]), binary.BigEndian.Uint32(frame[4:])
	if header > maxRecord || payload > maxRecord {
		return nil, fmt.Errorf("a record of %d and %d bytes", header, payload)
	}
	var body bytes.Buffer // grows with what is there, not with what a broken length says
	if n, err := io.CopyN(&body, in, int64(header)+int64(payload)); err != nil {
		return nil, fmt.Errorf("a record ends after %d bytes", n)
	}
	if crc32.Checksum(body.Bytes(), castagnoli()) != binary.BigEndian.Uint32(frame[8:]) {
		return nil, errors.New("a record's checksum is wrong")
	}
	var rec record
	if err := json.Unmarshal(body.Bytes()[:header], &rec); err != nil {
		return nil, fmt.Errorf("a record's header: %w", err)
	}
	m := &message{props: rec.Props, expires: rec.Expires}
	m.Topic, m.QoS, m.Retain, m.Payload = rec.Topic, rec.QoS, true, body.Bytes()[header:]
	return m, spec.CheckTopic(m.Topic)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendRecord encodes the topic's message; nil says that it was removed.
func appendRecord(out []byte, topic string, m *message) ([]byte, error) {
	rec := record{Topic: topic}
	var payload []byte
	if m != nil {
		rec.QoS, rec.Expires, rec.Props, payload = m.QoS, m.expires, m.props, m.Payload
	}
	header, err := json.Marshal(rec)
	if err != nil {
		return out, fmt.Errorf("cannot encode the retained message of %q: %w", topic, err)
	}
	body := append(header, payload...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(header)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, castagnoli()))
	return append(out, body...), nil
}

// persist writes changes until ctx ends. A disk that fails is logged, and tried again.
func (r *retained) persist(ctx context.Context) error {
	tick := time.NewTicker(persistEvery)
	defer tick.Stop()
	var failing quiet
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.wanted:
		}
		if err := r.flush(); err != nil && failing.allow() {
			r.log.Error("cannot keep the retained messages on disk", "file", r.path(), "error", err)
		}
	}
}

// round is one writing that somebody waits for.
type round struct {
	done chan struct{} // closed when it is over
	err  error
}

// awaitWritten returns when everything that was set before stands in the file, or with the
// error that kept it out. While nobody persists it waits until ctx ends.
func (r *retained) awaitWritten(ctx context.Context) error {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	r.mu.Unlock()
	select {
	case r.wanted <- struct{}{}:
	default:
	}
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flush writes what changed and tells who waits for it. After an error the file is written
// anew by the next one.
func (r *retained) flush() error {
	changed, waiting := r.changes()
	err := r.write(changed)
	if waiting != nil {
		waiting.err = err
		close(waiting.done)
	}
	return err
}

func (r *retained) write(changed map[string]*message) error {
	if len(changed) == 0 && r.file != nil {
		return nil
	}
	if r.file == nil || r.written > 2*r.compacted+compactMinimum {
		return r.compact()
	}
	var out []byte
	for topic, m := range changed {
		var err error
		if out, err = appendRecord(out, topic, m); err != nil {
			return errors.Join(err, r.abandon())
		}
	}
	n, err := r.file.Write(out)
	r.written += int64(n)
	if err != nil {
		return errors.Join(err, r.abandon())
	}
	return nil
}

// changes takes over what is dirty, where a nil message was removed, and who waits for it.
func (r *retained) changes() (map[string]*message, *round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := make(map[string]*message, len(r.dirty))
	for topic := range r.dirty {
		changed[topic] = r.messages[topic]
	}
	clear(r.dirty)
	waiting := r.next
	r.next = nil
	return changed, waiting
}

// compact writes the file anew, beside the old one, and puts it in its place.
func (r *retained) compact() error {
	r.mu.RLock()
	all := maps.Clone(r.messages)
	r.mu.RUnlock()
	if err := r.abandon(); err != nil {
		return err
	}
	f, err := atomicfile.Create(r.path())
	if err != nil {
		return err
	}
	n, err := writeAll(f, all)
	if err != nil {
		return errors.Join(err, f.Abort())
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if r.file, err = os.OpenFile(r.path(), os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return err
	}
	r.written, r.compacted = n, n
	return nil
}

func writeAll(f io.Writer, all map[string]*message) (written int64, err error) {
	w := bufio.NewWriterSize(f, 1<<16)
	if _, err := w.WriteString(retainedMagic); err != nil {
		return 0, err
	}
	written = int64(len(retainedMagic))
	var buf []byte
	for topic, m := range all {
		if buf, err = appendRecord(buf[:0], topic, m); err != nil {
			return written, err
		}
		if _, err := w.Write(buf); err != nil {
			return written, err
		}
		written += int64(len(buf))
	}
	return written, w.Flush()
}

// abandon closes the file; the next flush writes a new one.
func (r *retained) abandon() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// close writes and syncs the last changes, after persist has returned.
func (r *retained) close() error {
	err := r.flush()
	if err == nil && r.file != nil {
		err = r.file.Sync()
	}
	if err = errors.Join(err, r.abandon()); err != nil {
		return fmt.Errorf("cannot keep the retained messages on disk: %w", err)
	}
	return nil
}
