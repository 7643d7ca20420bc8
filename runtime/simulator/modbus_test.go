package simulator

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

func at(t *testing.T, seed int64, tick uint64) *tables {
	t.Helper()
	tab, err := newTables(Options{Seed: seed, ModbusRegisters: 100})
	if err != nil {
		t.Fatal(err)
	}
	tab.tick = func() uint64 { return tick }
	return tab
}

// TestValuesFollowSeedAndTick shows that equal seeds and ticks give equal answers to every
// read, and others different ones.
func TestValuesFollowSeedAndTick(t *testing.T) {
	reads := [][]byte{
		{1, 0, 0, 0, 20}, {2, 0, 0, 0, 8}, {3, 0, 0, 0, 20}, {4, 0, 0, 0, 7}, {3, 0x03, 0xe8, 0, 100},
	}
	for _, read := range reads {
		a, b := at(t, 7, 1234).answer(1, read), at(t, 7, 1234).answer(1, read)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%v: % x and % x", read, a, b)
		}
		if a[0]&0x80 != 0 {
			t.Errorf("%v is refused: % x", read, a)
		}
		if later := at(t, 7, 1234+20).answer(1, read); reflect.DeepEqual(a, later) {
			t.Errorf("%v does not change with time", read)
		}
	}
	if reflect.DeepEqual(at(t, 7, 5).answer(1, reads[2]), at(t, 8, 5).answer(1, reads[2])) {
		t.Error("the seed changes nothing")
	}
	if reflect.DeepEqual(at(t, 7, 5).answer(1, reads[2]), at(t, 7, 5).answer(2, reads[2])) {
		t.Error("units 1 and 2 are equal")
	}
}

func TestOdometerIsBeyondFloat64(t *testing.T) {
	var last uint64
	for tick := range uint64(50) {
		regs, ok := at(t, 1, tick).readHolding(1, 3, 4)
		if !ok {
			t.Fatal("cannot read the odometer")
		}
		now := uint64(regs[0])<<48 | uint64(regs[1])<<32 | uint64(regs[2])<<16 | uint64(regs[3])
		if now <= 1<<53 || now <= last {
			t.Fatalf("tick %d: %d after %d", tick, now, last)
		}
		last = now
	}
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name    string
		unit    byte
		request []byte
		want    []byte
	}{
		{"past the holding table", 1, []byte{3, 0, 15, 0, 6}, []byte{0x83, 2}},
		{"between the holding tables", 1, []byte{3, 0, 100, 0, 1}, []byte{0x83, 2}},
		{"past the extra registers", 1, []byte{3, 0x04, 0x4b, 0, 2}, []byte{0x83, 2}},
		{"past the input table", 1, []byte{4, 0, 7, 0, 1}, []byte{0x84, 2}},
		{"past the coils", 1, []byte{1, 0, 20, 0, 1}, []byte{0x81, 2}},
		{"past the discrete inputs", 1, []byte{2, 0, 8, 0, 1}, []byte{0x82, 2}},
		{"126 registers", 1, []byte{3, 0, 0, 0, 126}, []byte{0x83, 3}},
		{"2001 bits", 1, []byte{1, 0, 0, 0x07, 0xd1}, []byte{0x81, 3}},
		{"none", 1, []byte{3, 0, 0, 0, 0}, []byte{0x83, 3}},
		{"too short", 1, []byte{3, 0}, []byte{0x83, 3}},
		{"unknown function", 1, []byte{43}, []byte{0xab, 1}},
		{"unknown unit", 9, []byte{3, 0, 0, 0, 1}, []byte{0x83, 11}},
		{"write a register", 2, []byte{6, 0, 10, 0x12, 0x34}, []byte{6, 0, 10, 0x12, 0x34}},
		{"read it back", 2, []byte{3, 0, 10, 0, 1}, []byte{3, 2, 0x12, 0x34}},
		{"the other unit has its own", 1, []byte{3, 0, 10, 0, 1}, []byte{3, 2, 0, 0}},
		{"write a measured register", 1, []byte{6, 0, 2, 0, 1}, []byte{0x86, 2}},
		{"write registers", 1, []byte{16, 0, 18, 0, 2, 4, 0, 7, 0, 8}, []byte{16, 0, 18, 0, 2}},
		{"read them back", 1, []byte{3, 0, 18, 0, 2}, []byte{3, 4, 0, 7, 0, 8}},
		{"write past the end", 1, []byte{16, 0, 19, 0, 2, 4, 0, 7, 0, 8}, []byte{0x90, 2}},
		{"wrong byte count", 1, []byte{16, 0, 18, 0, 2, 3, 0, 7, 0, 8}, []byte{0x90, 3}},
		{"write a coil", 1, []byte{5, 0, 10, 0xff, 0}, []byte{5, 0, 10, 0xff, 0}},
		{"write a coil wrongly", 1, []byte{5, 0, 10, 1, 0}, []byte{0x85, 3}},
		{"write coils", 1, []byte{15, 0, 11, 0, 9, 2, 0x55, 0x01}, []byte{15, 0, 11, 0, 9}},
		{"read the coils back", 1, []byte{1, 0, 10, 0, 10}, []byte{1, 2, 0xab, 0x02}},
	}
	tab := at(t, 1, 0)
	for _, test := range tests {
		if got := tab.answer(test.unit, test.request); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: % x, want % x", test.name, got, test.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(byte(1), []byte{3, 0, 0, 0, 20})
	f.Add(byte(1), []byte{16, 0, 18, 0, 2, 4, 0, 7, 0, 8})
	f.Add(byte(2), []byte{15, 0, 11, 0, 9, 2, 0x55, 0x01})
	tab, err := newTables(Options{ModbusRegisters: 200})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, unit byte, request []byte) {
		if len(request) == 0 {
			return
		}
		if got := tab.answer(unit, request); len(got) < 2 || len(got) > 253 {
			t.Errorf("an answer of %d bytes", len(got))
		}
	})
}

func TestTooManyRegisters(t *testing.T) {
	for _, n := range []int{-1, 64537} {
		if p, err := Start(t.Context(), Options{Modbus: "127.0.0.1:0", ModbusRegisters: n}); err == nil {
			p.Close()
			t.Errorf("%d further registers are accepted", n)
		}
	}
}

func TestPlantEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, Options{Modbus: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Modbus())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if _, err := io.ReadAll(c); err != nil {
		t.Logf("the connection ended with %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if p.OPCUA() != "" {
		t.Errorf("OPC UA at %q, though none was asked for", p.OPCUA())
	}
}

func TestMisbehaveChecksItsWords(t *testing.T) {
	p, err := Start(t.Context(), Options{Modbus: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Misbehave("toaster", Hang); err == nil {
		t.Error("an unknown device misbehaves")
	}
	if err := p.Misbehave("modbus", "sulk"); err == nil {
		t.Error("an unknown misbehaviour is accepted")
	}
	if err := p.Misbehave("modbus", Late); err != nil {
		t.Error(err)
	}
}

// TestForeignMbpoll reads and writes the device with a client that this project did not write.
func TestForeignMbpoll(t *testing.T) {
	mbpoll := testneed.Program(t, "mbpoll")
	p, err := Start(t.Context(), Options{Modbus: "127.0.0.1:0", Seed: 1, ModbusRegisters: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	host, port, _ := net.SplitHostPort(p.Modbus())
	poll := func(args ...string) (string, error) {
		all := append([]string{"-m", "tcp", "-p", port, "-1", "-0", "-q", "-o", "1"}, args...)
		out, err := exec.CommandContext(t.Context(), mbpoll, all...).CombinedOutput()
		return string(out), err
	}
	tests := []struct {
		args string
		want string // in the output; empty: the command must fail
	}{
		{"-a 1 -t 4 -r 7 -c 1 HOST", "[7]: \t1\n"},
		{"-a 2 -t 4 -r 7 -c 1 HOST", "[7]: \t2\n"},
		{"-a 1 -t 4 -r 10 HOST 4711", "Written 1 reference"},
		{"-a 1 -t 4 -r 10 -c 1 HOST", "[10]: \t4711\n"},
		{"-a 1 -t 0 -r 12 HOST 1", "Written 1 reference"},
		{"-a 1 -t 0 -r 12 -c 1 HOST", "[12]: \t1\n"},
		{"-a 1 -t 1 -r 0 -c 8 HOST", "[7]: \t"},
		{"-a 1 -t 3 -r 0 -c 7 HOST", "[6]: \t"},
		{"-a 1 -t 4 -r 1000 -c 10 HOST", "[1009]: \t"},
		{"-a 1 -t 4 -r 1000 -c 11 HOST", ""},
		{"-a 1 -t 4 -r 20 -c 1 HOST", ""},
		{"-a 3 -t 4 -r 0 -c 1 HOST", ""},
	}
	for _, test := range tests {
		args := strings.Fields(strings.Replace(test.args, "HOST", host, 1))
		out, err := poll(args...)
		if (err == nil) != (test.want != "") || !strings.Contains(out, test.want) {
			t.Errorf("mbpoll %s: %v\n%s", fmt.Sprint(args), err, out)
		}
	}
}
