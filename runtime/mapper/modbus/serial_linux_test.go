package modbus

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire is the device's end of a pseudo-terminal; the part of net.Conn that rtuDevice uses.
type wire struct {
	net.Conn
	file *os.File
}

func (w wire) Read(b []byte) (int, error)  { return w.file.Read(b) }
func (w wire) Write(b []byte) (int, error) { return w.file.Write(b) }

// openWire makes a serial line out of a pseudo-terminal and returns the client's device file.
func openWire(t *testing.T) (wire, string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	w := wire{file: os.NewFile(uintptr(fd), "ptmx")}
	name := fmt.Sprintf("/dev/pts/%d", n)
	// An end that stays open keeps the line up while the client opens and closes its own.
	keep, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		keep.Close()
		w.file.Close()
	})
	return w, name
}

// TestSerialLine reads two units over a serial line on which the second one answers so late that
// its answer comes while others are asked.
func TestSerialLine(t *testing.T) {
	t.Parallel()
	w, name := openWire(t)
	var mu sync.Mutex
	var late []byte
	go rtuDevice(func(q question) []byte {
		mu.Lock()
		defer mu.Unlock()
		reply := q.registers(uint16(q.first))
		if q.unit == 2 && late == nil {
			pdu := reply[4:]
			late = append(pdu, crc16(pdu)...)
			return nil
		}
		if q.unit == 1 && len(late) > 0 {
			_, _ = w.Write(late) // a lost reply shows in the test
			late = []byte{}
		}
		return reply
	})(w)
	c := connect(t, "127.0.0.1:1", map[string]any{
		"scheme": "rtu", "serialPort": name, "baudRate": 115200, "parity": "even", "socketTimeout": 300,
	})
	all := points(t, c, "1/3/100/uint16BE", "2/3/200/uint16BE")
	s := dial(t, c)
	var broken int
	end := time.After(30 * time.Second)
	for {
		r := s.Read(t.Context(), all)
		if r[0].Err != nil {
			broken++
		} else if r[0].Value != uint64(100) {
			t.Fatalf("unit 1 = %v, another question's answer", r[0].Value)
		}
		if r[1].Err == nil {
			if r[1].Value != uint64(200) {
				t.Fatalf("unit 2 = %v, another question's answer", r[1].Value)
			}
			break
		}
		if s.ended() {
			t.Fatal(s.Err())
		}
		select {
		case <-end:
			t.Fatal("unit 2 does not come back")
		case <-time.After(20 * time.Millisecond):
		}
	}
	if broken > 1 {
		t.Errorf("one late answer spoiled %d of unit 1's", broken)
	}
}

var _ io.ReadWriter = wire{}
