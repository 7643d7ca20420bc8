package opcua

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/mappertest"
	"github.com/millwright/millwright/runtime/simulator"
)

// TestConformance runs the suite against the simulator; its setpoint is what is pushed and written.
func TestConformance(t *testing.T) {
	shared := startPlant(t, "127.0.0.1:0")
	defer shared.Close()
	mappertest.Run(t, mappertest.Harness{
		Driver: briefDriver(),
		// The library's server takes long to start: each case has an entrance of its own to one of them.
		Start: func(t testing.TB, addr string) mappertest.Machine {
			return entrance{newMuzzle(t, addr, shared.Addr()), shared}
		},
		Connection: func(host string, port int) map[string]any {
			return map[string]any{"host": host, "port": port}
		},
		Read: []mappertest.ReadPoint{
			{Address: `{"nodeId":"ns=2;s=Press.Temperature","attributeId":3}`, Want: "2:Temperature"},
			{Address: `{"nodeId":"ns=2;s=Press.Total"}`},
			{Address: `{"browsePath":"/Objects/2:Press/2:Counter","attributeId":14}`, Want: "i=6"},
			{Address: `{"nodeId":"ns=2;s=Press","attributeId":2}`, Want: int64(1)},
			{Address: `{"nodeId":"ns=2;s=Press.Profile","attributeId":15}`, Want: int64(1)},
		},
		Bad:     `{"nodeId":"ns=2;s=Press.Nonsense"}`,
		Invalid: `{"nodeId":"ns=2;s=Press.Counter","browsePath":"/Objects/2:Press"}`,
		Polled:  `{"nodeId":"ns=2;s=Press.Counter","interval":1000}`,
		Pushed:  `{"nodeId":"ns=2;s=Press.Setpoint","publishInterval":50,"samplingInterval":0}`,
		Write:   `{"nodeId":"ns=2;s=Press.Setpoint"}`,
		// A session that was cut leaves its subscriptions behind at the server, until their lifetime ends.
		Ignore: func(stack string) bool { return strings.Contains(stack, "simulator.(*subscriptions).run") },
		Liars: map[string]func(testing.TB) string{
			"NoOpcua":       liar(func(net.Conn, []byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }),
			"HugeSize":      liar(func(net.Conn, []byte) []byte { return chunkOf("ACKF", 0xffffffff, make([]byte, 20)) }),
			"TinySize":      liar(func(net.Conn, []byte) []byte { return chunkOf("ACKF", 2, nil) }),
			"Truncated":     liar(func(net.Conn, []byte) []byte { return chunkOf("ACKF", 28, make([]byte, 3)) }),
			"NoBuffer":      liar(func(net.Conn, []byte) []byte { return chunkOf("ACKF", 28, make([]byte, 20)) }),
			"Echo":          liar(func(_ net.Conn, request []byte) []byte { return request }),
			"WrongMessages": liar(wrongMessages),
			"NegativeArray": liar(negativeArray),
		},
	})
}

// briefDriver does not wait long for a hanging machine's goodbye, which many cases have.
func briefDriver() mapper.Driver {
	d := Driver()
	d.New = func(cfg mapper.Config) (mapper.Connector, error) {
		c, err := newConnector(cfg)
		if err == nil {
			c.(*connector).pace.goodbye = 50 * time.Millisecond
		}
		return c, err
	}
	return d
}

// entrance is an address of a machine that runs.
type entrance struct {
	*muzzle
	plant
}

func (e entrance) Addr() string { return e.muzzle.Addr() }
func (e entrance) Close()       { e.muzzle.Close() }

// plant is the simulator as a mappertest.Machine.
type plant struct {
	*simulator.Plant
	t testing.TB
}

func startPlant(t testing.TB, addr string) plant {
	var last error
	for range 50 {
		p, err := simulator.Start(context.Background(), simulator.Options{OPCUA: addr, Seed: 1})
		if err == nil {
			return plant{p, t}
		}
		last = err
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("cannot start the simulator: %v", last)
	return plant{}
}

func (p plant) Addr() string { return p.OPCUA() }

func (p plant) Close() {
	if err := p.Plant.Close(); err != nil {
		p.t.Errorf("cannot stop the simulator: %v", err)
	}
}

func (p plant) Set(t testing.TB, n int64) {
	t.Helper()
	s, point := p.setpoint(t)
	defer s.Close()
	if r := s.Write(t.Context(), point, mapper.Payload{Value: json.Number(strconv.FormatInt(n, 10))}); r.Err != nil {
		t.Fatalf("cannot set: %v", r.Err)
	}
}

func (p plant) Written(t testing.TB) (int64, bool) {
	t.Helper()
	s, point := p.setpoint(t)
	defer s.Close()
	r := s.Read(t.Context(), []mapper.Point{point})[0]
	if r.Err != nil {
		t.Fatalf("cannot read back: %v", r.Err)
	}
	return int64(r.Value.(float64)), true
}

func (p plant) setpoint(t testing.TB) (mapper.Session, mapper.Point) {
	t.Helper()
	c := connect(t, p.Addr(), nil)
	return dial(t, c), pointOf(t, c, mapper.OpWrite, `{"nodeId":"ns=2;s=Press.Setpoint"}`)
}

// connect makes a connector for host:port with further properties.
func connect(t testing.TB, addr string, more map[string]any) mapper.Connector {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]any{"host": host, "port": number}
	for k, v := range more {
		properties[k] = v
	}
	raw, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Driver().New(mapper.Config{Properties: raw, Log: slog.New(slog.DiscardHandler), ClientCertificate: testCertificate})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t testing.TB, c mapper.Connector) mapper.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := c.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pointOf(t testing.TB, c mapper.Connector, op mapper.Operation, address string) mapper.Point {
	t.Helper()
	p, err := c.Point(op, json.RawMessage(address))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// liar answers each piece of a request with what answer makes of it.
func liar(answer func(net.Conn, []byte) []byte) func(testing.TB) string {
	return func(t testing.TB) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { conn.Close() })
				go func() {
					buf := make([]byte, 64<<10)
					for {
						n, err := conn.Read(buf)
						if err != nil {
							return
						}
						if _, err := conn.Write(answer(conn, buf[:n])); err != nil {
							return
						}
					}
				}()
			}
		}()
		return l.Addr().String()
	}
}

func chunkOf(kind string, size uint32, body []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte(kind), size), body...)
}

func acknowledge() []byte {
	body := make([]byte, 20)
	binary.LittleEndian.PutUint32(body[4:], 65535)
	binary.LittleEndian.PutUint32(body[8:], 65535)
	return chunkOf("ACKF", 28, body)
}

// wrongMessages greets properly and answers the rest with a message on a channel that is not open.
func wrongMessages(_ net.Conn, request []byte) []byte {
	if strings.HasPrefix(string(request), "HEL") {
		return acknowledge()
	}
	return chunkOf("MSGF", 32, make([]byte, 24))
}

// negativeArray opens the channel and answers everything with a ReadResponse whose variant claims a
// negative number of elements, on which the codec panics.
func negativeArray(_ net.Conn, request []byte) []byte {
	switch {
	case strings.HasPrefix(string(request), "HEL"):
		return acknowledge()
	case strings.HasPrefix(string(request), "OPN"):
		return openAnswer(request)
	}
	body := []byte{1, 0, 0x7a, 0x02} // ReadResponse
	body = append(body, make([]byte, 8)...)
	body = append(body, request[20:24]...) // the request's handle is its id
	body = append(body, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0)
	body = append(body, 1, 0, 0, 0, 1, 0x86, 0xfe, 0xff, 0xff, 0xff)
	head := make([]byte, 16)
	binary.LittleEndian.PutUint32(head, 1)
	binary.LittleEndian.PutUint32(head[4:], 1)
	binary.LittleEndian.PutUint32(head[8:], 2)
	copy(head[12:], request[20:24])
	return chunkOf("MSGF", uint32(8+len(head)+len(body)), append(head, body...))
}

func openAnswer(request []byte) []byte {
	policy := "http://opcfoundation.org/UA/SecurityPolicy#None"
	head := binary.LittleEndian.AppendUint32(nil, 1)
	head = appendBytes(appendBytes(appendBytes(head, []byte(policy)), nil), nil)
	at := 8 + len(head)
	head = binary.LittleEndian.AppendUint32(head, 1)
	head = append(head, request[at+4:at+8]...)
	body := []byte{1, 0, 0xc1, 0x01} // OpenSecureChannelResponse
	body = append(body, make([]byte, 8)...)
	body = append(body, request[at+4:at+8]...)
	body = append(body, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0)
	body = append(body, 0, 0, 0, 0) // protocol version
	body = append(body, 1, 0, 0, 0, 1, 0, 0, 0)
	body = append(body, make([]byte, 8)...)
	body = binary.LittleEndian.AppendUint32(body, 600000)
	body = append(body, 0xff, 0xff, 0xff, 0xff)
	return chunkOf("OPNF", uint32(8+len(head)+len(body)), append(head, body...))
}
