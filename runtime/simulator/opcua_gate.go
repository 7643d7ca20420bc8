package simulator

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// gate lets clients through to the library's server once they have sent their whole hello:
// that server stops listening for good when one resets its connection earlier, and serves
// nobody while one is silent.
type gate struct {
	listener net.Listener
	inner    string
	log      *slog.Logger
	open     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

const (
	helloPatience = 10 * time.Second
	helloSize     = 8 << 10 // the longest hello
)

func newGate(ctx context.Context, addr, inner string, log *slog.Logger) (*gate, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, inner: inner, log: log, conns: map[net.Conn]bool{}}
	g.open.Go(g.accept)
	return g, nil
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				g.log.Error("cannot accept OPC UA clients any more", "error", err)
			}
			return
		}
		g.open.Go(func() {
			if err := g.serve(client); err != nil {
				g.log.Debug("an OPC UA client was turned away", "client", client.RemoteAddr(), "error", err)
			}
		})
	}
}

// serve forwards both ways until either side closes.
func (g *gate) serve(client net.Conn) error {
	defer g.drop(client)
	if !g.keep(client) {
		return net.ErrClosed
	}
	hello, err := readHello(client)
	if err != nil {
		return err
	}
	machine, err := net.Dial("tcp", g.inner)
	if err != nil {
		return err
	}
	defer g.drop(machine)
	if !g.keep(machine) {
		return net.ErrClosed
	}
	if _, err := machine.Write(hello); err != nil {
		return err
	}
	g.open.Go(func() {
		defer g.drop(client)
		io.Copy(client, machine) //nolint:errcheck // either side may go at any time
	})
	_, err = io.Copy(machine, client)
	return err
}

func readHello(client net.Conn) ([]byte, error) {
	if err := client.SetReadDeadline(time.Now().Add(helloPatience)); err != nil {
		return nil, err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(client, head); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if string(head[:4]) != "HELF" || size < 8 || size > helloSize {
		return nil, errors.New("it does not speak OPC UA")
	}
	hello := make([]byte, size)
	copy(hello, head)
	if _, err := io.ReadFull(client, hello[8:]); err != nil {
		return nil, err
	}
	return hello, client.SetReadDeadline(time.Time{})
}

func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.conns[c] = true
	return true
}

func (g *gate) drop(c net.Conn) {
	c.Close() //nolint:errcheck,gosec // it may be closed already
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// close cuts all clients and waits for the gate's goroutines.
func (g *gate) close() error {
	err := g.listener.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		c.Close() //nolint:errcheck,gosec // its goroutine sees it
	}
	g.mu.Unlock()
	g.open.Wait()
	return err
}
