package modbus

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/mapper"
)

// pymodbus is a running testdata/server.py.
type pymodbus struct {
	addr string
	stop func()
}

// startPymodbus starts the server on a port (0: any) and waits until it listens.
func startPymodbus(t *testing.T, port, framer string) pymodbus {
	t.Helper()
	python := testneed.Python(t, "pymodbus")
	cmd := exec.CommandContext(t.Context(), python, "testdata/server.py", port, framer)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	var bound string
	if n, _ := fmt.Sscanf(line, "ready %s", &bound); n != 1 {
		t.Fatalf("the pymodbus server said %q, %v", line, err)
	}
	return pymodbus{"127.0.0.1:" + bound, stop}
}

// peek reads with pymodbus's own client.
func peek(t *testing.T, addr string, args ...string) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(t.Context(), testneed.Python(t, "pymodbus"), append([]string{"testdata/read.py", port}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestForeignPymodbus reads, writes and reconnects with a server that this project did not write.
func TestForeignPymodbus(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtuovertcp"} {
		t.Run(scheme, func(t *testing.T) {
			framer := map[string]string{"tcp": "socket", "rtuovertcp": "rtu"}[scheme]
			server := startPymodbus(t, "0", framer)
			c := connect(t, server.addr, map[string]any{"scheme": scheme, "socketTimeout": 3000})
			s := dial(t, c)
			readPymodbus(t, c, s)
			writePymodbus(t, s)
			if scheme == "tcp" {
				peekPymodbus(t, server.addr)
			}
			_, port, _ := net.SplitHostPort(server.addr)
			server.stop()
			one := points(t, c, "1/3/49/uint16BE")
			eventually(t, "noticing that the server is gone", func() bool {
				s.Read(t.Context(), one)
				return s.ended()
			})
			startPymodbus(t, port, framer)
			if r := dial(t, c).Read(t.Context(), one)[0]; r.Value != uint64(1) {
				t.Errorf("after the server is back: %v, %v", r.Value, r.Err)
			}
		})
	}
}

func readPymodbus(t *testing.T, c *connector, s *session) {
	t.Helper()
	want := []struct {
		point string
		value any // nil: refused
	}{
		{"1/3/0/floatBE", 21.7},
		{"1/3/2/int64BE", int64(1<<53 + 1)},
		{"1/3/6/int32BEWS", int64(-123456)},
		{"1/3/8/doubleLE", 0.1},
		{"1/3/49/uint16BE", uint64(1)},
		{"1/3/50/uint16BE", nil},
		{"1/3/60/uint16BE", uint64(1)},
		{"1/3/99/int32BE", nil},
		{"2/3/20/uint16BE", uint64(2)},
		{"1/4/19/uint16BE", uint64(1019)},
		{"1/1/3/boolean", true},
		{"1/1/4/boolean", false},
		{"1/2/39/boolean", false},
		{"1/2/40/boolean", nil},
	}
	var addresses []string
	for _, w := range want {
		addresses = append(addresses, w.point)
	}
	asked := points(t, c, addresses...)
	for range 2 { // the second time with what the first one taught
		for i, r := range s.Read(t.Context(), asked) {
			if (r.Err != nil) != (want[i].value == nil) || r.Err == nil && r.Value != want[i].value {
				t.Errorf("%s = %v (%T), %v; want %v", want[i].point, r.Value, r.Value, r.Err, want[i].value)
			}
		}
	}
}

func writePymodbus(t *testing.T, s *session) {
	t.Helper()
	for _, w := range []struct{ address, value string }{
		{`{"fc":6,"address":30,"dataType":"int16BE"}`, `-7`},
		{`{"fc":16,"address":31,"dataType":"int64BE"}`, `9007199254740993`},
		{`{"fc":16,"address":35,"length":2,"dataType":"raw"}`, `[258, 772]`},
		{`{"fc":5,"address":30,"dataType":"boolean"}`, `true`},
		{`{"fc":15,"address":31,"length":3,"dataType":"boolean"}`, `[true,false,true]`},
	} {
		if r := s.Write(t.Context(), writePoint(t, w.address), payload(t, w.value)); r.Err != nil {
			t.Errorf("writing %s to %s: %v", w.value, w.address, r.Err)
		}
	}
	if r := s.Write(t.Context(), writePoint(t, `{"fc":5,"address":45,"dataType":"boolean"}`), payload(t, "true")); r.Err == nil {
		t.Error("a coil that does not exist is written")
	}
	read := func(address string) mapper.Result {
		p, err := s.c.Point(mapper.OpRead, []byte(address))
		if err != nil {
			t.Fatal(err)
		}
		return s.Read(t.Context(), []mapper.Point{p})[0]
	}
	if r := read(`{"fc":3,"address":30,"dataType":"int16BE"}`); r.Value != int64(-7) {
		t.Errorf("register 30 = %v, %v", r.Value, r.Err)
	}
	if r := read(`{"fc":3,"address":31,"dataType":"int64BE"}`); r.Value != int64(1<<53+1) {
		t.Errorf("register 31 = %v, %v", r.Value, r.Err)
	}
}

func peekPymodbus(t *testing.T, addr string) {
	t.Helper()
	if got, want := peek(t, addr, "1", "holding", "30", "7"), "[65529, 32, 0, 0, 1, 258, 772]"; got != want {
		t.Errorf("pymodbus reads %s, want %s", got, want)
	}
	if got, want := peek(t, addr, "1", "coils", "30", "5"), "[1, 1, 0, 1, 0]"; got != want {
		t.Errorf("pymodbus reads coils %s, want %s", got, want)
	}
}

// TestForeignPymodbusSilentUnit has a unit behind pymodbus that does not answer.
func TestForeignPymodbusSilentUnit(t *testing.T) {
	t.Parallel()
	server := startPymodbus(t, "0", "socket")
	c := connect(t, server.addr, map[string]any{"socketTimeout": 500})
	all := points(t, c, "7/3/0/uint16BE", "1/3/49/uint16BE")
	s := dial(t, c)
	for range 10 {
		r := s.Read(t.Context(), all)
		if r[0].Err == nil || r[1].Value != uint64(1) {
			t.Fatalf("silent unit: %v; other: %v, %v", r[0].Err, r[1].Value, r[1].Err)
		}
	}
}
