package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/mappertest"
)

func TestConformance(t *testing.T) {
	for _, version := range []int{5, 4} {
		t.Run("version"+strconv.Itoa(version), func(t *testing.T) {
			mappertest.Run(t, mappertest.Harness{
				Driver: Driver(),
				Start:  startBroker,
				Connection: func(host string, port int) map[string]any {
					return map[string]any{"host": host, "port": port, "protocolVersion": version, "username": "line1", "password": "x"}
				},
				Bad:     `{"topic":"bad/one"}`,
				Invalid: `{"topic":"a/#/b"}`,
				Pushed:  `{"topic":"pushed","qos":1}`,
				Write:   `{"topic":"written","qos":1}`,
				Liars: map[string]func(testing.TB) string{
					"CONNACK with authentication": liar("\x20\x08\x00\x00\x05\x15\x00\x02xy"),
					"CONNACK cut short":           liar("\x20\x01\x00"),
					"SUBACK first":                liar("\x90\x04\x00\x01\x00\x00"),
					"endless length":              liar("\x20\xff\xff\xff\xff\xff"),
					"AUTH":                        liar("\xf0\x02\x18\x00"),
				},
			})
		})
	}
}

// machine is our own broker, as a machine for the suite.
type machine struct {
	broker *broker.Broker
	addr   string
	stop   func()

	mu      sync.Mutex
	written []byte
}

func startBroker(t testing.TB, addr string) mappertest.Machine {
	t.Helper()
	b, err := broker.New(broker.Options{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Watch: oneIdentity{},
		Login: func(_ context.Context, _ credential.Attempt, hashes []string) (string, error) { return hashes[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{broker: b, addr: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx, l); err != nil {
			t.Error(err)
		}
	})
	m.stop = func() {
		cancel()
		running.Wait()
	}
	<-b.Synced()
	if _, err := b.Subscribe(ctx, "line1", "written", 1, m.take); err != nil {
		t.Fatal(err)
	}
	return m
}

// oneIdentity is the broker's policy: everything is allowed but what is bad.
type oneIdentity struct{}

func (oneIdentity) Watch(ctx context.Context, _ string, handle func(spec.Event[spec.Identity]) error) error {
	id := spec.Identity{Name: "line1", Credentials: []string{"x"}}
	for _, topic := range []string{"pushed", "written", "x"} {
		id.Permissions = append(id.Permissions, spec.Permission{Resource: topic, Operation: spec.ReadWrite, Context: spec.MQTT})
	}
	for _, e := range []spec.Event[spec.Identity]{
		{Type: spec.EventSnapshot}, {Type: spec.EventPut, Key: id.Name, Value: id}, {Type: spec.EventSynced, Cursor: "s-1", Revision: 1},
	} {
		if err := handle(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (m *machine) take(msg broker.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written = bytes.Clone(msg.Payload)
}

func (m *machine) Addr() string { return m.addr }

func (m *machine) Set(t testing.TB, n int64) {
	if err := m.broker.Publish(t.Context(), "line1", broker.Message{Topic: "pushed", Payload: strconv.AppendInt(nil, n, 10), QoS: 1}); err != nil {
		t.Error(err)
	}
}

func (m *machine) Written(testing.TB) (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := strconv.ParseInt(string(m.written), 10, 64)
	return n, err == nil
}

func (m *machine) Close() { m.stop() }

// liar answers whatever comes with the bytes.
func liar(answer string) func(testing.TB) string { return liarAfter("", answer) }

// liarAfter answers the first that comes with greeting, and then sends the lie at once.
func liarAfter(greeting, lie string) func(testing.TB) string {
	return func(t testing.TB) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var open sync.WaitGroup
		t.Cleanup(open.Wait)
		t.Cleanup(func() { l.Close() })
		open.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				open.Go(func() { lieTo(c, greeting, lie) })
			}
		})
		return l.Addr().String()
	}
}

func lieTo(c net.Conn, greeting, lie string) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := c.Write([]byte(greeting + lie)); err != nil {
			return
		}
		greeting = ""
	}
}

// TestLiesAfterLogin sends packets that no broker may send in an open session. Nothing may panic: a panic in one of
// a library's goroutines would end the process.
func TestLiesAfterLogin(t *testing.T) {
	lies := map[string]string{
		"CONNECT": "\x10\x00", "second CONNACK": "\x20\x02\x00\x00", "short CONNACK": "\x20\x01\x00",
		"empty PUBLISH": "\x30\x00", "PUBLISH without topic": "\x30\x02\x00\x00", "PUBLISH cut short": "\x30\x03\x00\x09x",
		"PUBLISH QoS 3": "\x36\x05\x00\x01x\x00\x01", "PUBLISH without id": "\x32\x03\x00\x01x", "PUBLISH id 0": "\x32\x06\x00\x01x\x00\x00\x00",
		"empty PUBACK": "\x40\x00", "foreign PUBACK": "\x40\x02\x00\x09", "foreign PUBREC": "\x50\x02\x00\x09", "bad PUBREC": "\x50\x03\x00\x09\xff",
		"foreign PUBREL": "\x62\x02\x00\x09", "foreign PUBCOMP": "\x70\x02\x00\x09", "SUBSCRIBE": "\x82\x00",
		"foreign SUBACK": "\x90\x03\x00\x09\x00", "empty SUBACK": "\x90\x00", "SUBACK without codes": "\x90\x03\x00\x01\x00", "UNSUBSCRIBE": "\xa2\x00",
		"foreign UNSUBACK": "\xb0\x03\x00\x09\x00", "PINGREQ": "\xc0\x00", "PINGRESP": "\xd0\x00", "long PINGRESP": "\xd0\x01x",
		"DISCONNECT": "\xe0\x00", "bad DISCONNECT": "\xe0\x02\x8e\x7f", "AUTH": "\xf0\x00", "AUTH with method": "\xf0\x06\x18\x04\x15\x00\x01x",
		"nothing known": "\x00\x00", "4 GiB": "\x30\xff\xff\xff\xff\x0f", "255 MiB": "\x30\xff\xff\xff\x7f",
	}
	for _, version := range []int{4, 5} {
		greeting := "\x20\x02\x00\x00"
		if version == 5 {
			greeting = "\x20\x03\x00\x00\x00"
		}
		for name, lie := range lies {
			t.Run(fmt.Sprint(name, version), func(t *testing.T) {
				t.Parallel()
				host, port, err := net.SplitHostPort(liarAfter(greeting, lie)(t))
				if err != nil {
					t.Fatal(err)
				}
				number, err := strconv.Atoi(port)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				c := connectorFor(t, map[string]any{"host": host, "port": number, "protocolVersion": version})
				s, err := c.Dial(ctx)
				if err != nil {
					return
				}
				defer s.Close()
				p, err := c.Point(mapper.OpSubscribe, json.RawMessage(`{"topic":"x"}`))
				if err != nil {
					t.Fatal(err)
				}
				s.Subscribe(ctx, []mapper.Subscription{{ID: "x", Point: p, Deliver: func(mapper.Result) {}}})
				if err := s.(mapper.PubSub).Publish(ctx, mapper.Message{Topic: "x", QoS: 2}); err == nil {
					t.Error("a liar took a message over")
				}
			})
		}
	}
}

func TestFrames(t *testing.T) {
	for stream, good := range map[string]bool{
		"\x30\x03abc\xd0\x00\x30\x80\x01" + strings.Repeat("x", 128) + "\xd0\x00": true,
		"\x30\xff\xff\xff\x07":     true, // 16 MiB - 1
		"\x30\x81\x80\x80\x08":     false,
		"\x30\x80\x80\x80\x80\x00": false,
	} {
		for _, piece := range []int{1, 2, 1000} {
			var f frames
			var err error
			for p := []byte(stream); len(p) > 0 && err == nil; p = p[min(piece, len(p)):] {
				err = f.follow(p[:min(piece, len(p))])
			}
			if (err == nil) != good {
				t.Errorf("%.20q in pieces of %d: %v", stream, piece, err)
			}
		}
	}
}
