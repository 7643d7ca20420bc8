package modbus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/simulator"
)

// connect makes a connector to addr with further properties.
func connect(t testing.TB, addr string, more map[string]any) *connector {
	t.Helper()
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]any{"host": host, "port": port}
	for k, v := range more {
		properties[k] = v
	}
	raw, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConnector(mapper.Config{Properties: raw, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c.(*connector)
}

func dial(t testing.TB, c *connector) *session {
	t.Helper()
	s, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*session)
}

// points parses read addresses, given as "unit/fc/address/dataType".
func points(t testing.TB, c *connector, addresses ...string) []mapper.Point {
	t.Helper()
	out := make([]mapper.Point, len(addresses))
	for i, a := range addresses {
		f := strings.Split(a, "/")
		text := fmt.Sprintf(`{"unitId":%s,"fc":%s,"address":%s,"dataType":%q}`, f[0], f[1], f[2], f[3])
		p, err := c.Point(mapper.OpRead, json.RawMessage(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out[i] = p
	}
	return out
}

// plant starts a simulator that outlives the test's context, so that sessions end first.
func plant(t testing.TB, extra int) *simulator.Plant {
	t.Helper()
	p, err := simulator.Start(context.Background(), simulator.Options{Modbus: "127.0.0.1:0", Seed: 1, ModbusRegisters: extra})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestBadPointFailsAlone reads over holes and refused addresses and shows that what was learned
// makes later polls cheap.
func TestBadPointFailsAlone(t *testing.T) {
	p := plant(t, 100)
	c := connect(t, p.Modbus(), nil)
	s := dial(t, c)
	asked := points(
		t, c, "1/3/2/uint16BE", "1/3/19/uint16BE", "1/3/20/uint16BE", "1/3/25/int64BE", "1/3/7/uint16BE",
		"1/1/19/boolean", "1/1/20/boolean", "1/3/1000/uint16BE", "1/3/999/uint16BE", "1/3/1099/uint16BE",
	)
	bad := []int{2, 3, 6, 8}
	for range 3 {
		for i, r := range s.Read(t.Context(), asked) {
			if isBad := slices.Contains(bad, i); (r.Err != nil) != isBad {
				t.Errorf("point %d: %v, %v", i, r.Value, r.Err)
			}
		}
	}
	if n := len(s.memory.alone); n != len(bad) {
		t.Errorf("%d points are remembered as bad, want %d", n, len(bad))
	}
}

// TestHoleIsNotBlamedOnPoints reads two good runs with an unreadable hole between them.
func TestHoleIsNotBlamedOnPoints(t *testing.T) {
	requests := make(chan [2]int, 100)
	addr := serve(t, device(func(q question) []byte {
		requests <- [2]int{q.first, q.count}
		if q.first <= 5 && q.first+q.count > 5 {
			return q.exception(2)
		}
		return q.registers(7)
	}))
	c := connect(t, addr, nil)
	s := dial(t, c)
	asked := points(t, c, "1/3/3/uint16BE", "1/3/4/uint16BE", "1/3/6/uint16BE", "1/3/7/uint16BE")
	for range 2 {
		for i, r := range s.Read(t.Context(), asked) {
			if r.Err != nil || r.Value != uint64(7) {
				t.Errorf("point %d: %v, %v", i, r.Value, r.Err)
			}
		}
	}
	close(requests)
	var got [][2]int
	for r := range requests {
		got = append(got, r)
	}
	want := [][2]int{{3, 5}, {3, 2}, {6, 2}, {3, 2}, {6, 2}}
	if !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

// TestSilentUnitLeavesOthersAlone asks a gateway with one silent unit: the session stays, the
// others' values come, the silent unit's points fail at once after the first time-out.
func TestSilentUnitLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	p := plant(t, 0)
	c := connect(t, p.Modbus(), map[string]any{"socketTimeout": 400})
	all := points(t, c, "3/3/7/uint16BE", "1/3/7/uint16BE", "2/3/7/uint16BE")
	s := dial(t, c)
	for range 20 {
		results := s.Read(t.Context(), all)
		if results[0].Err == nil {
			t.Errorf("the silent unit has the value %v", results[0].Value)
		}
		for unit := 1; unit <= 2; unit++ {
			if r := results[unit]; r.Err != nil || r.Value != uint64(unit) {
				t.Fatalf("unit %d: %v, %v", unit, r.Value, r.Err)
			}
		}
	}
	if r := s.Write(t.Context(), writePoint(t, `{"fc":6,"address":10,"unitId":3}`), payload(t, "1")); r.Err == nil {
		t.Error("a write to the silent unit succeeds")
	}
	if s.ended() {
		t.Errorf("the session ended: %v", s.Err())
	}
}

// TestSilentUnitComesBack lets a unit fall silent and answer again, while another goes on.
func TestSilentUnitComesBack(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtuovertcp"} {
		t.Run(scheme, func(t *testing.T) {
			var gate sync.Mutex
			silent := true
			answer := func(q question) []byte {
				gate.Lock()
				defer gate.Unlock()
				if q.unit == 2 && silent {
					return nil
				}
				return q.registers(uint16(q.unit))
			}
			handle := device(answer)
			if scheme == "rtuovertcp" {
				handle = rtuDevice(answer)
			}
			c := connect(t, serve(t, handle), map[string]any{"socketTimeout": 400, "scheme": scheme})
			all := points(t, c, "1/3/0/uint16BE", "2/3/0/uint16BE")
			s := dial(t, c)
			read := func() (one, two mapper.Result) {
				r := s.Read(t.Context(), all)
				return r[0], r[1]
			}
			if one, two := read(); one.Value != uint64(1) || two.Err == nil {
				t.Fatalf("unit 1: %v, unit 2: %v", one, two)
			}
			gate.Lock()
			silent = false
			gate.Unlock()
			eventually(t, "the unit's return", func() bool {
				one, two := read()
				if one.Err != nil {
					t.Fatalf("unit 1: %v", one.Err)
				}
				return two.Value == uint64(2)
			})
			if s.ended() {
				t.Errorf("the session ended: %v", s.Err())
			}
		})
	}
}

// TestLateAnswerIsNotTheNextOnes has a device answer the first question so late that the next
// one is under way, and with another value.
func TestLateAnswerIsNotTheNextOnes(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtuovertcp"} {
		t.Run(scheme, func(t *testing.T) {
			lateSent := make(chan struct{})
			addr := serve(t, lateDevice(scheme == "rtuovertcp", lateSent))
			c := connect(t, addr, map[string]any{"socketTimeout": 400, "scheme": scheme})
			first := points(t, c, "2/3/100/uint16BE")
			second := points(t, c, "1/3/200/uint16BE")
			s := dial(t, c)
			if r := s.Read(t.Context(), first)[0]; r.Err == nil {
				t.Fatalf("the late answer came in time: %v", r.Value)
			}
			for range 3 {
				if r := s.Read(t.Context(), second)[0]; r.Err != nil || r.Value != uint64(200) {
					t.Fatalf("got %v, %v; want the second question's own answer", r.Value, r.Err)
				}
			}
			<-lateSent
		})
	}
}

// TestSilentDeviceEndsTheSession shows that a device which hangs is not called connected: the
// session ends, and dialling it again fails until it answers.
func TestSilentDeviceEndsTheSession(t *testing.T) {
	t.Parallel()
	p := plant(t, 0)
	c := connect(t, p.Modbus(), map[string]any{"socketTimeout": 400})
	one := points(t, c, "1/3/7/uint16BE", "2/3/7/uint16BE")
	s := dial(t, c)
	if err := p.Misbehave("modbus", simulator.Hang); err != nil {
		t.Fatal(err)
	}
	for !s.ended() {
		for i, r := range s.Read(t.Context(), one) {
			if r.Err == nil {
				t.Errorf("point %d has the value %v", i, r.Value)
			}
		}
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "no unit answers") {
		t.Errorf("the session ended with %v", err)
	}
	if again, err := c.Dial(t.Context()); err == nil {
		again.Close()
		t.Error("a hanging device is connected to")
	}
	if err := p.Misbehave("modbus", ""); err != nil {
		t.Fatal(err)
	}
	if r := dial(t, c).Read(t.Context(), one)[0]; r.Value != uint64(1) {
		t.Errorf("after the device is back: %v, %v", r.Value, r.Err)
	}
}

// TestOneDeadUnitDoesNotKeepOthersAway ends a session by silence and lets only the second unit
// come back.
func TestOneDeadUnitDoesNotKeepOthersAway(t *testing.T) {
	t.Parallel()
	var gate sync.Mutex
	alive := map[byte]bool{}
	addr := serve(t, device(func(q question) []byte {
		gate.Lock()
		defer gate.Unlock()
		if alive[q.unit] {
			return q.registers(uint16(q.unit))
		}
		return nil
	}))
	c := connect(t, addr, map[string]any{"socketTimeout": 400})
	all := points(t, c, "1/3/0/uint16BE", "2/3/0/uint16BE")
	s := dial(t, c)
	for !s.ended() {
		s.Read(t.Context(), all)
	}
	gate.Lock()
	alive[2] = true
	gate.Unlock()
	eventually(t, "the second unit's value", func() bool {
		s, err := c.Dial(t.Context())
		if err != nil {
			return false
		}
		defer s.Close()
		return s.Read(t.Context(), all)[1].Value == uint64(2)
	})
}

// TestReadReturnsWhatItHas cancels a read whose second unit hangs: the first unit's value is there.
func TestReadReturnsWhatItHas(t *testing.T) {
	t.Parallel()
	p := plant(t, 0)
	c := connect(t, p.Modbus(), nil)
	all := points(t, c, "3/3/7/uint16BE", "1/3/7/uint16BE")
	s := dial(t, c)
	if r := s.Read(t.Context(), all[1:])[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r := s.Read(ctx, all)
	if r[0].Err == nil || r[1].Value != uint64(1) {
		t.Errorf("silent: %v; answering: %v, %v", r[0].Err, r[1].Value, r[1].Err)
	}
}

// TestJoinedRequests counts what a device is asked, with and without batches.
func TestJoinedRequests(t *testing.T) {
	for _, batch := range []bool{true, false} {
		var mu sync.Mutex
		var count int
		addr := serve(t, device(func(q question) []byte {
			mu.Lock()
			defer mu.Unlock()
			count++
			return q.registers(uint16(q.first))
		}))
		c := connect(t, addr, map[string]any{"batchReadEnabled": batch})
		var addresses []string
		for i := range 240 {
			addresses = append(addresses, fmt.Sprintf("1/3/%d/uint16BE", 239-i))
		}
		s := dial(t, c)
		for i, r := range s.Read(t.Context(), points(t, c, addresses...)) {
			if r.Err != nil {
				t.Fatalf("point %d: %v", i, r.Err)
			}
		}
		want := 240
		if batch {
			want = 2
		}
		if count != want {
			t.Errorf("batchReadEnabled %v: %d requests, want %d", batch, count, want)
		}
	}
}

func TestPausesAreKept(t *testing.T) {
	p := plant(t, 0)
	c := connect(t, p.Modbus(), map[string]any{"connectDelay": 30, "requestDelay": 20, "batchReadEnabled": false})
	started := time.Now()
	s := dial(t, c)
	for _, r := range s.Read(t.Context(), points(t, c, "1/3/7/uint16BE", "2/3/7/uint16BE", "1/3/2/uint16BE")) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if took := time.Since(started); took < 70*time.Millisecond {
		t.Errorf("one connectDelay of 30 ms and two requestDelays of 20 ms took %v", took)
	}
}
