package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// seeds are the library's own packets, good and bad, and some that reach further into a session.
func seeds() [][]byte {
	var raw [][]byte
	for _, kind := range slices.Sorted(maps.Keys(packets.TPacketData)) {
		for _, c := range packets.TPacketData[kind] {
			if len(c.RawBytes) > 0 {
				raw = append(raw, c.RawBytes)
			}
		}
	}
	raw = append(
		raw,
		[]byte{0x82, 5, 0, 1, 0, 0, 0}, // an empty filter without options
		[]byte{0x82, 7, 0, 1, 0, 0, 1, '#', 2},
		[]byte{0x82, 9, 0, 1, 2, 0x0B, 5, 0, 1, 'a', 1},
		[]byte{0x82, 18, 0, 2, 0, 0, 12, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'a', '/', '#', 1},
		[]byte{0xA2, 6, 0, 3, 0, 0, 1, '#'},
		[]byte{0x62, 2, 0, 1}, []byte{0x40, 2, 0, 1}, []byte{0x50, 2, 0, 1}, []byte{0x70, 2, 0, 1},
		[]byte{0xC0, 0}, []byte{0xE0, 0}, []byte{0xE0, 2, 4, 0}, []byte{0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9},
		[]byte{0xF0, 0}, []byte{0xF0, 2, 0x18, 0}, []byte{0x00, 0}, []byte{0x10, 0},
	)
	for _, first := range []byte{0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3C} {
		raw = append(raw, stormPublish(nil, first, "a", 1, "x"), stormPublish(nil, first, "a", 1, ""))
	}
	return append(raw, []byte{0x30, 7, 0, 1, 'a', 3, 0x23, 0, 1}, []byte{0x30, 6, 0, 0, 3, 0x23, 0, 1})
}

// target is a live broker that is fuzzed, and a witness.
type target struct {
	*plant
	path     string
	watcher  *wire
	panicked panics
}

// panics is a log handler that keeps the stack of the last panic outside the decoder, where
// panics of the library are expected and guarded.
type panics struct{ stack *atomic.Pointer[string] }

func (p panics) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (p panics) WithAttrs([]slog.Attr) slog.Handler               { return p }
func (p panics) WithGroup(string) slog.Handler                    { return p }

func (p panics) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if text := a.Value.String(); a.Key == "stack" && !strings.Contains(text, "broker.decode(") {
			p.stack.Store(&text)
		}
		return true
	})
	return nil
}

func newTarget(f *testing.F) *target {
	f.Helper()
	x := &target{path: filepath.Join(f.TempDir(), "socket"), panicked: panics{new(atomic.Pointer[string])}}
	ids := newControl(identityOf("watcher", "rw $watch"), identityOf("fuzz", "rw #", "w $x/#"))
	x.plant = startOptions(f, Options{
		Dir: f.TempDir(), Log: slog.New(x.panicked),
		Limits: Limits{PacketBytes: 1 << 16, RetainedMessages: 100, QueueMessages: 200, QueueBytes: 1 << 18},
	}, ids)
	l, err := net.Listen("unix", x.path)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	accepted := make(chan error)
	go func() { accepted <- x.accept(ctx, l) }()
	f.Cleanup(func() {
		cancel()
		if err := l.Close(); err != nil {
			f.Error(err)
		}
		if err := <-accepted; err != nil {
			f.Error(err)
		}
	})
	x.watcher = x.connect(f, "watcher", "w")
	x.watcher.subscribe(1, "$watch")
	return x
}

// throw sends data on a new connection, after a log-in of that version unless it is 0, ends it
// and holds that the broker serves the witness, and that nothing of the connection is left.
func (x *target) throw(t *testing.T, version byte, data []byte) {
	t.Helper()
	x.watcher.t = t
	goroutines := runtime.NumGoroutine()
	nc, err := net.Dial("unix", x.path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil { // only a broken broker lets it come
		t.Fatal(err)
	}
	if version != 0 {
		w := &wire{t: t, nc: nc, version: version}
		w.send(connectPacket("fuzz", "f"))
		if kind, body, err := readRaw(nc); err != nil || kind != packets.Connack || body[1] != 0 {
			t.Fatalf("packet %d, %x, %v", kind, body, err)
		}
	}
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, nc)
		received <- err
	}()
	_, _ = nc.Write(data)               // fails where the broker has ended the connection in the middle
	_ = nc.(*net.UnixConn).CloseWrite() // likewise
	if errors.Is(<-received, os.ErrDeadlineExceeded) {
		t.Fatal("the broker does not end the connection")
	}
	x.publish(t, "watcher", Message{Topic: "$watch", Payload: []byte("x"), QoS: 1})
	x.watcher.ack(packets.Puback, x.watcher.expectMessage("$watch", "x").PacketID)
	eventually(t, "the session to end", func() bool {
		s := x.Stats()
		return s.Clients == 1 && s.Subscriptions == 1 && runtime.NumGoroutine() <= goroutines
	})
	if stack := x.panicked.stack.Swap(nil); stack != nil {
		t.Errorf("a panic outside the decoder: %s", *stack)
	}
}

// FuzzFirstBytes is whatever a connection may begin with.
func FuzzFirstBytes(f *testing.F) {
	for _, raw := range seeds() {
		f.Add(raw)
	}
	for _, version := range []byte{3, 4, 5} {
		var buf bytes.Buffer
		pk := connectPacket("fuzz", "f")
		pk.ProtocolVersion = version
		if version == 3 {
			pk.Connect.ProtocolName = []byte("MQIsdp")
		}
		if err := pk.ConnectEncode(&buf); err != nil {
			f.Fatal(err)
		}
		f.Add(append(buf.Bytes(), 0x82, 6, 0, 1, 0, 1, '#', 2, 0x34, 6, 0, 1, 'a', 0, 1, 'x'))
	}
	x := newTarget(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("pw-fuzz")) {
			data = neverKept(data)
		}
		x.throw(t, 0, data)
	})
}

// neverKept takes what could be a session expiry interval out of a CONNECT that logs in: the session
// of one run must not be there in the next.
func neverKept(data []byte) []byte {
	data = bytes.Clone(data)
	for _, name := range []string{"MQTT", "MQIsdp"} {
		if _, flags, _ := bytes.Cut(data, []byte(name)); len(flags) > 1 {
			flags[1] |= 2 // clean start
		}
	}
	return bytes.ReplaceAll(data, []byte{0x11}, []byte{0x27})
}

// FuzzAfterConnect is whatever a client that is logged in may send.
func FuzzAfterConnect(f *testing.F) {
	for _, raw := range seeds() {
		f.Add(raw, byte(0))
		f.Add(raw, byte(1))
	}
	x := newTarget(f)
	f.Fuzz(func(t *testing.T, data []byte, version byte) { x.throw(t, 4+version&1, data) })
}

// FuzzSequence is sequences of packets, some of them changed a little. A program has four bytes
// for each packet: two choose it, one says how it is changed and one where.
func FuzzSequence(f *testing.F) {
	table := seeds()
	step := func(packet int, change, where byte) []byte {
		return []byte{byte(packet), byte(packet >> 8), change, where}
	}
	var all []byte
	for i := range table {
		all = append(all, step(i, 0, 0)...)
		f.Add(slices.Concat(step(i, 0, 0), step(i, 1, 3)), byte(i))
		f.Add(slices.Concat(step(len(table)-1-i%20, 0, 0), step(i, 0, 0), step(i, byte(i), byte(i/2))), byte(i))
	}
	for from := 0; from < len(all); from += 40 {
		f.Add(all[from:min(from+80, len(all))], byte(from/40))
	}
	x := newTarget(f)
	f.Fuzz(func(t *testing.T, program []byte, version byte) {
		var data []byte
		for ; len(program) >= 4 && len(data) < 1<<17; program = program[4:] {
			raw := table[(int(program[0])+int(program[1])<<8)%len(table)]
			data = append(data, changed(raw, program[2], int(program[3]))...)
		}
		x.throw(t, 4+version&1, data)
	})
}

// changed is the packet with one change; most numbers stand for none.
func changed(raw []byte, change byte, where int) []byte {
	raw = bytes.Clone(raw)
	at := where % len(raw)
	switch change {
	case 1:
		raw[at] ^= 1 << (where % 8)
	case 2:
		raw[at] = 0
	case 3:
		raw[at] = 0xFF
	case 4:
		raw = raw[:at]
	case 5:
		raw = slices.Insert(raw, at, byte(where))
	case 6:
		raw = slices.Delete(raw, at, at+1)
	case 7:
		raw = append(raw, raw[at:]...)
	case 8:
		raw[0] ^= byte(where)
	case 9:
		raw[min(1, len(raw)-1)] += byte(where) // the length
	}
	return raw
}
