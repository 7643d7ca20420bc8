package simulator

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// echo is a device that answers each line with itself.
func echo(t *testing.T) net.Listener {
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
			go func() {
				defer c.Close()
				io.Copy(c, c) //nolint:errcheck // the other end tells
			}()
		}
	}()
	return l
}

type line struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dialLine(t *testing.T, addr string) line {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return line{t, c, bufio.NewReader(c)}
}

func (l line) send(text string) {
	l.t.Helper()
	if _, err := l.Write([]byte(text + "\n")); err != nil {
		l.t.Fatal(err)
	}
}

func (l line) expect(text string) {
	l.t.Helper()
	got, err := l.in.ReadString('\n')
	if err != nil || got != text+"\n" {
		l.t.Fatalf("got %q, %v; want %q", got, err, text)
	}
}

func (l line) deadline(at time.Time) {
	l.t.Helper()
	if err := l.SetReadDeadline(at); err != nil {
		l.t.Fatal(err)
	}
}

// ended waits until the connection is over.
func (l line) ended() {
	l.t.Helper()
	if got, err := l.in.ReadString('\n'); err == nil {
		l.t.Fatalf("got %q from a connection that should be cut", got)
	}
}

// expectReset shows that a new connection is reset, be it while it is made or after.
func expectReset(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes from a connection that should be refused", n)
	}
}

func startFront(t *testing.T) *front {
	t.Helper()
	f, err := newFront("127.0.0.1:0", "echo", echo(t).Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRefuseKeepsOpenConnections(t *testing.T) {
	f := startFront(t)
	open := dialLine(t, f.Addr())
	open.send("a")
	open.expect("a")
	f.set(Refuse)
	expectReset(t, f.Addr())
	open.send("b")
	open.expect("b")
	f.set("")
	again := dialLine(t, f.Addr())
	again.send("c")
	again.expect("c")
}

func TestCutEndsAllConnections(t *testing.T) {
	f := startFront(t)
	open := dialLine(t, f.Addr())
	open.send("a")
	open.expect("a")
	f.set(Cut)
	open.ended()
	expectReset(t, f.Addr())
}

func TestHangHoldsAnswersBack(t *testing.T) {
	f := startFront(t)
	open := dialLine(t, f.Addr())
	open.send("a")
	open.expect("a")
	f.set(Hang)
	fresh := dialLine(t, f.Addr())
	fresh.send("b")
	open.send("c")
	open.deadline(time.Now().Add(50 * time.Millisecond))
	if got, err := open.in.ReadString('\n'); err == nil {
		t.Fatalf("a hanging device answered %q", got)
	}
	open.deadline(time.Time{})
	f.set("")
	open.expect("c")
	fresh.expect("b")
}

func TestLateDelaysEachAnswer(t *testing.T) {
	f := startFront(t)
	f.late = 40 * time.Millisecond
	open := dialLine(t, f.Addr())
	open.send("a")
	open.expect("a")
	f.set(Late)
	asked := time.Now()
	open.send("b")
	open.expect("b")
	if took := time.Since(asked); took < f.late {
		t.Errorf("the answer took %v, less than %v", took, f.late)
	}
}

// TestHangingClientsLeave shows that a link ends with its client even while the device hangs.
func TestHangingClientsLeave(t *testing.T) {
	f := startFront(t)
	f.set(Hang)
	for range 3 {
		c := dialLine(t, f.Addr())
		c.send("x")
		waitLinks(t, f, 1)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		waitLinks(t, f, 0)
	}
}

func TestLinksAreBounded(t *testing.T) {
	f := startFront(t)
	for range maxLinks {
		dialLine(t, f.Addr())
	}
	waitLinks(t, f, maxLinks)
	expectReset(t, f.Addr())
}

func waitLinks(t *testing.T, f *front, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); ; {
		f.mu.Lock()
		got := len(f.links)
		f.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d links, want %d", got, want)
		}
	}
}
