package mqtt

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/runtime/mapper/mappertest"
)

func TestConformance(t *testing.T) {
	for _, version := range []int{5, 4} {
		t.Run("version"+strconv.Itoa(version), func(t *testing.T) {
			mappertest.Run(t, mappertest.Harness{
				Driver: Driver(),
				Start:  startBroker,
				Connection: func(host string, port int) map[string]any {
					return map[string]any{"host": host, "port": port, "protocolVersion": version}
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

// broker is a machine for the suite.
type broker struct {
	mochi.HookBase
	server *mochi.Server
	addr   string

	mu      sync.Mutex
	written []byte
}

func startBroker(t testing.TB, addr string) mappertest.Machine {
	t.Helper()
	b := &broker{}
	b.server = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := b.server.AddHook(b, nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	if err := b.server.AddListener(listeners.NewNet("tcp", l)); err != nil {
		t.Fatal(err)
	}
	if err := b.server.Serve(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *broker) ID() string { return "test" }

func (b *broker) Provides(hook byte) bool {
	return bytes.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublished}, []byte{hook})
}

func (b *broker) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (b *broker) OnACLCheck(_ *mochi.Client, topic string, _ bool) bool {
	return !strings.HasPrefix(topic, "bad/")
}

func (b *broker) OnPublished(_ *mochi.Client, p packets.Packet) {
	if p.TopicName == "written" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.written = bytes.Clone(p.Payload)
	}
}

func (b *broker) Addr() string { return b.addr }

func (b *broker) Set(t testing.TB, n int64) {
	if err := b.server.Publish("pushed", strconv.AppendInt(nil, n, 10), false, 1); err != nil {
		t.Error(err)
	}
}

func (b *broker) Written(testing.TB) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := strconv.ParseInt(string(b.written), 10, 64)
	return n, err == nil
}

func (b *broker) Close() { b.server.Close() }

// liar answers whatever comes first with the bytes.
func liar(answer string) func(testing.TB) string {
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
				open.Go(func() {
					defer c.Close()
					buf := make([]byte, 4096)
					for {
						if _, err := c.Read(buf); err != nil {
							return
						}
						if _, err := c.Write([]byte(answer)); err != nil {
							return
						}
					}
				})
			}
		})
		return l.Addr().String()
	}
}
