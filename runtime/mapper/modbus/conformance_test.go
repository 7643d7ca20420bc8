package modbus

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/mapper/mappertest"
	"github.com/millwright/millwright/runtime/simulator"
)

// machine is the simulator with known values in its writable registers.
type machine struct {
	*simulator.Plant
	t testing.TB
}

func (m machine) Addr() string                { return m.Modbus() }
func (m machine) Set(t testing.TB, _ int64)   { t.Fatal("a Modbus device pushes nothing") }
func (m machine) Close()                      { m.Plant.Close() }
func (m machine) connect() *connector         { return connect(m.t, m.Modbus(), nil) }
func (m machine) ask(s span, d []byte) []byte { return askOnce(m.t, m.connect(), s, d) }

// Written reads what the harness's Write point wrote.
func (m machine) Written(testing.TB) (int64, bool) {
	data := m.ask(span{table{1, 3}, 19, 1}, nil)
	return int64(int16(binary.BigEndian.Uint16(data))), true
}

func startMachine(t testing.TB, addr string) mappertest.Machine {
	t.Helper()
	var plant *simulator.Plant
	eventually(t, "binding "+addr, func() bool {
		var err error
		plant, err = simulator.Start(t.Context(), simulator.Options{Modbus: addr, Seed: 1})
		return err == nil
	})
	m := machine{plant, t}
	m.ask(span{table{1, 16}, 10, 8}, []byte{
		0, 0x20, 0, 0, 0, 0, 0, 1, // 10: int64 2^53+1
		0x3d, 0xcc, 0xcc, 0xcd, // 14: float 0.1
		0xde, 0xad, 0xbe, 0xef, // 16: raw
	})
	m.ask(span{table{1, 15}, 10, 4}, []byte{1, 0, 0, 1})
	return m
}

// askOnce asks on a connection of its own.
func askOnce(t testing.TB, c *connector, s span, data []byte) []byte {
	t.Helper()
	l, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	out, err := l.ask(s, data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	mappertest.Run(t, mappertest.Harness{
		Driver: Driver(),
		Start:  startMachine,
		Connection: func(host string, port int) map[string]any {
			return map[string]any{"host": host, "port": port}
		},
		Read: []mappertest.ReadPoint{
			{Address: `{"fc":3,"address":14,"dataType":"floatBE"}`, Want: 0.1},
			{Address: `{"fc":3,"address":7,"dataType":"uint16BE","unitId":2}`, Want: uint64(2)},
			{Address: `{"fc":1,"address":10,"length":4,"dataType":"boolean"}`, Want: []any{true, false, false, true}},
			{Address: `{"fc":3,"address":10,"dataType":"int64BE"}`, Want: int64(1<<53 + 1)},
			{Address: `{"fc":3,"address":16,"length":2}`, Want: []byte{0xde, 0xad, 0xbe, 0xef}},
			{Address: `{"fc":3,"address":7,"dataType":"uint16BE"}`, Want: uint64(1)},
			{Address: `{"fc":4,"address":0,"length":7}`},
		},
		Bad:     `{"fc":3,"address":20,"dataType":"uint16BE"}`,
		Invalid: `{"fc":3,"address":65535,"dataType":"floatBE"}`,
		Polled:  `{"fc":3,"address":0,"dataType":"floatBE"}`,
		Write:   `{"fc":6,"address":19,"dataType":"int16BE"}`,
		Silent:  true,
		Liars: map[string]func(testing.TB) string{
			"foreign transaction id": liar(func(q []byte) []byte { q[1]++; return reply3(q, 2*amount(q)) }),
			"foreign unit":           liar(func(q []byte) []byte { q[6] = 77; return reply3(q, 2*amount(q)) }),
			"foreign protocol":       liar(func(q []byte) []byte { q[3] = 9; return reply3(q, 2*amount(q)) }),
			"too short":              liar(func(q []byte) []byte { return reply3(q, 2*amount(q)-1) }),
			"too long":               liar(func(q []byte) []byte { return reply3(q, 2*amount(q)+1) }),
			"empty":                  liar(func(q []byte) []byte { return reply3(q, 0) }),
			"length 0":               liar(func(q []byte) []byte { return append(q[:4:4], 0, 0, q[6]) }),
			"length 65535":           liar(func(q []byte) []byte { return append(q[:4:4], 0xff, 0xff, q[6]) }),
			"foreign function": liar(func(q []byte) []byte {
				r := reply3(q, 2*amount(q))
				r[7]++
				return r
			}),
			"exception without a code": liar(func(q []byte) []byte { return append(q[:4:4], 0, 2, q[6], q[7]|0x80) }),
			"unknown exception":        liar(func(q []byte) []byte { return append(q[:4:4], 0, 3, q[6], q[7]|0x80, 99) }),
			"half a frame":             liar(func(q []byte) []byte { return reply3(q, 2*amount(q))[:9] }),
		},
	})
}

// amount is the number of registers that a request asks for.
func amount(q []byte) int { return int(binary.BigEndian.Uint16(q[10:])) }

// reply3 answers a read with n bytes, whatever was asked for.
func reply3(q []byte, n int) []byte {
	out := append(q[:4:4], 0, byte(3+n), q[6], q[7], byte(n))
	return append(out, make([]byte, n)...)
}

// liar accepts connections and answers each request of 12 bytes with what lie makes of it.
func liar(lie func(request []byte) []byte) func(testing.TB) string {
	return func(t testing.TB) string {
		return serve(t, func(c net.Conn) {
			for {
				request := make([]byte, 12)
				if _, err := io.ReadFull(c, request); err != nil {
					return
				}
				if _, err := c.Write(lie(request)); err != nil {
					return
				}
			}
		})
	}
}

// serve runs handle for each connection until the test ends.
func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context := t.Context()
			go func() {
				<-context.Done()
				c.Close()
			}()
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s takes too long", what)
		}
	}
}

var _ mapper.Session = (*session)(nil)
