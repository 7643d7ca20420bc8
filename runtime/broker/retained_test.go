package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func openTestRetained(t testing.TB, dir string) *retained {
	t.Helper()
	r, err := openRetained(dir, Limits{}.WithDefaults(), quietLog())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keep(t testing.TB, r *retained, topic, payload string) {
	t.Helper()
	if !r.set(&message{Message: Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}}) {
		t.Fatal("not kept")
	}
}

func flush(t testing.TB, r *retained) {
	t.Helper()
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
}

func TestRetainedSurvives(t *testing.T) {
	dir := t.TempDir()
	r := openTestRetained(t, dir)
	keep(t, r, "a", "1")
	keep(t, r, "gone", "1")
	keep(t, r, "$SYS/x", "1")
	flush(t, r)
	keep(t, r, "a", "2")
	keep(t, r, "gone", "")
	props := &message{Message: Message{Topic: "p", Payload: []byte{0, 255}, Retain: true}, expires: time.Now().Add(time.Hour), props: &packets.Properties{ContentType: "text/plain", CorrelationData: []byte{1}}}
	r.set(props)
	r.set(&message{Message: Message{Topic: "old", Payload: []byte("x")}, expires: time.Now().Add(-time.Hour)})
	flush(t, r) // and no more: as after kill -9

	r = openTestRetained(t, dir)
	got := map[string]*message{}
	r.match("#", func(m *message) { got[m.Topic] = m })
	if len(got) != 2 || string(got["a"].Payload) != "2" || got["a"].QoS != 1 || string(got["p"].Payload) != "\x00\xff" {
		t.Fatalf("read back %v", got)
	}
	if p := got["p"]; !p.expires.Equal(props.expires) || p.props.ContentType != "text/plain" || string(p.props.CorrelationData) != "\x01" {
		t.Errorf("properties %+v", p)
	}
	r.expire(time.Now())
	if r.count() != 2 {
		t.Errorf("%d kept", r.count())
	}
}

// Whatever is cut off or falsified, what stands before it is read, and nothing after.
func TestRetainedDamaged(t *testing.T) {
	dir := t.TempDir()
	r := openTestRetained(t, dir)
	flush(t, r)
	var ends []int64
	for i := range 5 {
		keep(t, r, fmt.Sprint("t", i), "payload")
		flush(t, r)
		ends = append(ends, r.written)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, retainedFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		for _, flip := range []bool{false, true} {
			data := append([]byte{}, whole...)
			if flip {
				data[cut] ^= 0x40
			} else {
				data = data[:cut]
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var want int64
			for _, end := range ends {
				if int64(cut) >= end {
					want++
				}
			}
			if got := openTestRetained(t, dir).count(); got != want {
				t.Fatalf("byte %d, flipped %v: %d read, want %d", cut, flip, got, want)
			}
		}
	}
}

func TestRetainedCompacts(t *testing.T) {
	dir := t.TempDir()
	r := openTestRetained(t, dir)
	payload := string(make([]byte, 100_000))
	for range 200 {
		keep(t, r, "a", payload)
		flush(t, r)
	}
	info, err := os.Stat(filepath.Join(dir, retainedFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > compactMinimum+1_000_000 {
		t.Errorf("the file has grown to %d bytes", info.Size())
	}
	if got := openTestRetained(t, dir).count(); got != 1 {
		t.Errorf("%d read", got)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

func TestRetainedAfterRestart(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: 1}, PacketID: 1, TopicName: "x", Payload: []byte("kept")})
	w.expect(packets.Puback)
	p.stop()
	p = startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w = p.connect(t, "a", "c")
	w.subscribe(0, "x")
	if pk := w.expectMessage("x", "kept"); !pk.FixedHeader.Retain {
		t.Error("not marked as retained")
	}
}

// What was acknowledged outlives kill -9: the directory is opened as it is at that moment.
func TestRetainedAcknowledged(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	kept := func(topic string) string {
		value := ""
		openTestRetained(t, dir).match(topic, func(m *message) { value = string(m.Payload) })
		return value
	}
	for n := range 50 {
		for qos, answer := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
			topic, value := fmt.Sprint("q", qos), fmt.Sprint("v", n)
			id := uint16(n)*2 + uint16(qos)
			w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: qos}, PacketID: id, TopicName: topic, Payload: []byte(value)})
			w.expect(answer)
			if got := kept(topic); got != value {
				t.Fatalf("%s was acknowledged, on disk is %q", value, got)
			}
		}
	}
}

// A disk that fails acknowledges nothing, and what was not written is written when it is back.
func TestRetainedDiskFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows renames no directory that has an open file")
	}
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	publish := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: 1}, PacketID: 1, TopicName: "x", Payload: []byte("kept")}
	w.send(publish)
	w.expect(packets.Puback)
	lost := dir + ".lost"
	if err := os.Rename(dir, lost); err != nil {
		t.Fatal(err)
	}
	publish.Payload = make([]byte, compactMinimum-1000) // more than the file may grow by
	w.send(publish)
	w.expect(packets.Puback)
	publish.Payload = publish.Payload[:10_000]
	w.send(publish)
	w.expect(packets.Puback)
	w.send(publish) // now the file must be written anew, where no directory is
	if reason := w.expectEnd(); reason != packets.ErrImplementationSpecificError.Code {
		t.Errorf("DISCONNECT %#x", reason)
	}
	if err := os.Rename(lost, dir); err != nil {
		t.Fatal(err)
	}
	w = p.connect(t, "a", "c")
	publish.TopicName = "y"
	w.send(publish)
	w.expect(packets.Puback)
	r := openTestRetained(t, dir)
	if r.count() != 2 || len(r.messages["x"].Payload) != 10_000 {
		t.Errorf("%d kept", r.count())
	}
}

func FuzzRetainedLog(f *testing.F) {
	record, err := appendRecord([]byte(retainedMagic), "a/b", &message{Message: Message{Payload: []byte("x")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, retainedFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		openTestRetained(t, dir)
	})
}
