package mappertest

import (
	"crypto/rand"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what a Proxy does to its connections.
type Fault int

// The faults.
const (
	Pass    Fault = iota // forward both ways
	Hang                 // accept, swallow, answer nothing
	Slow                 // forward each piece of an answer 50 ms late
	Garbage              // answer each request with random bytes
	Chop                 // forward the first 3 bytes of an answer, then close
)

// Proxy stands between a driver and its machine and misbehaves on demand. It is exported for
// drivers' own tests.
type Proxy struct {
	listener net.Listener
	machine  string
	open     sync.WaitGroup

	mu    sync.Mutex
	fault Fault
	conns map[net.Conn]bool
	done  bool
}

// NewProxy listens on 127.0.0.1 and forwards to machine; it ends with the test or by Close.
func NewProxy(t testing.TB, machine string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, machine: machine, conns: map[net.Conn]bool{}}
	p.open.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// Addr returns the address to dial instead of the machine's.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set switches the fault, for open connections too.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Cut resets all open connections; new ones are welcome.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		closeHard(c)
	}
}

// Close cuts everything and waits for the proxy's goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.listener.Close() //nolint:errcheck // it may be closed already
	p.Cut()
	p.open.Wait()
}

func closeHard(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // a closed connection needs no reset
	}
	c.Close() //nolint:errcheck // it may be closed already
}

func (p *Proxy) current() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close() //nolint:errcheck // it may be closed already
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.open.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	if !p.keep(client) {
		return
	}
	machine, err := net.Dial("tcp", p.machine)
	if err != nil {
		closeHard(client)
		return
	}
	defer p.drop(machine)
	if !p.keep(machine) {
		return
	}
	p.open.Go(func() {
		defer p.drop(client)
		p.answers(client, machine)
	})
	p.requests(client, machine)
}

// requests forwards from the client to the machine.
func (p *Proxy) requests(client, machine net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		switch p.current() {
		case Hang:
		case Garbage:
			noise := make([]byte, 64)
			rand.Read(noise) // never fails
			_, err = client.Write(noise)
		default:
			_, err = machine.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// answers forwards from the machine to the client.
func (p *Proxy) answers(client, machine net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := machine.Read(buf)
		if err != nil {
			return
		}
		switch p.current() {
		case Hang, Garbage:
			continue
		case Chop:
			client.Write(buf[:min(n, 3)]) //nolint:errcheck // it is closed next
			return
		case Slow:
			<-time.After(50 * time.Millisecond)
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
