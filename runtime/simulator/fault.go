package simulator

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// lateBy is how late answers are under Late.
	lateBy = 3 * time.Second
	// maxLinks bounds the connections through one front; further ones are reset.
	maxLinks = 256
	// chunkSize and chunksHeld bound what one direction of a link keeps while it is held back.
	chunkSize  = 16 << 10
	chunksHeld = 64
)

// front listens where clients connect, forwards to a device, and misbehaves on demand.
type front struct {
	listener net.Listener
	device   string
	log      *slog.Logger
	late     time.Duration
	running  sync.WaitGroup

	mu      sync.Mutex
	mode    Misbehaviour
	changed chan struct{} // closed when mode changes
	links   map[*link]struct{}
	closed  bool
}

// newFront binds addr in front of the device that listens on inner.
func newFront(addr, name, inner string, log *slog.Logger) (*front, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q for the simulated %s device: %w", addr, name, err)
	}
	f := &front{
		listener: l, device: inner, log: log.With("device", name), late: lateBy,
		changed: make(chan struct{}), links: map[*link]struct{}{},
	}
	f.running.Go(f.accept)
	return f, nil
}

// Addr is the address that was bound.
func (f *front) Addr() string { return f.listener.Addr().String() }

// Close ends the listener and all links and waits for them.
func (f *front) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	err := f.listener.Close()
	f.closeLinks(false)
	f.running.Wait()
	return err
}

// set switches the behaviour.
func (f *front) set(m Misbehaviour) {
	f.mu.Lock()
	f.mode = m
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	f.log.Info("the device's behaviour changes", "misbehaviour", string(m))
	if m == Cut {
		f.closeLinks(true)
	}
}

func (f *front) closeLinks(reset bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.links {
		l.close(reset)
	}
}

// behaviour returns the mode and a channel that is closed when it changes.
func (f *front) behaviour() (Misbehaviour, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode, f.changed
}

func (f *front) accept() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return // the listener was closed; nothing else ends a TCP listener
		}
		f.running.Go(func() { f.serve(client) })
	}
}

func (f *front) serve(client net.Conn) {
	if m, _ := f.behaviour(); m == Refuse || m == Cut {
		reset(client)
		return
	}
	machine, err := net.Dial("tcp", f.device)
	if err != nil {
		f.log.Warn("cannot reach the simulated device", "error", err)
		reset(client)
		return
	}
	l := &link{client: client, machine: machine, done: make(chan struct{})}
	if !f.keep(l) {
		l.close(true)
		return
	}
	defer f.forget(l)
	l.run(f)
}

// keep registers a link unless it may not be: the front closes, cuts, or has too many.
func (f *front) keep(l *link) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.mode == Cut || len(f.links) >= maxLinks {
		return false
	}
	f.links[l] = struct{}{}
	return true
}

func (f *front) forget(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.links, l)
}

// link is one client's connection and its counterpart to the device.
type link struct {
	client, machine net.Conn
	done            chan struct{}
	once            sync.Once
}

// chunk is what was read at once, and when it may go on.
type chunk struct {
	data []byte
	due  time.Time
}

// run forwards both ways until either side ends.
func (l *link) run(f *front) {
	var both sync.WaitGroup
	requests, answers := make(chan chunk, chunksHeld), make(chan chunk, chunksHeld)
	both.Go(func() { l.read(f, l.client, requests, false); l.close(false) })
	both.Go(func() { l.read(f, l.machine, answers, true) })
	both.Go(func() { l.write(f, l.machine, requests) })
	both.Go(func() { l.write(f, l.client, answers); l.close(false) })
	both.Wait()
}

// read passes on what arrives and closes the channel at the end of the stream.
func (l *link) read(f *front, from net.Conn, to chan<- chunk, answers bool) {
	defer close(to)
	for {
		buf := make([]byte, chunkSize)
		n, err := from.Read(buf)
		if n > 0 {
			c := chunk{data: buf[:n]}
			if m, _ := f.behaviour(); answers && m == Late {
				c.due = time.Now().Add(f.late)
			}
			select {
			case to <- c:
			case <-l.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write sends chunks when they are due and the device does not hang.
func (l *link) write(f *front, to net.Conn, from <-chan chunk) {
	for c := range from {
		if !l.wait(time.Until(c.due)) || !l.waitWhileHanging(f) {
			return
		}
		if _, err := to.Write(c.data); err != nil {
			l.close(false)
			return
		}
	}
}

// wait reports whether the link is still open after d.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

func (l *link) waitWhileHanging(f *front) bool {
	for {
		mode, changed := f.behaviour()
		if mode != Hang {
			return true
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

func (l *link) close(hard bool) {
	l.once.Do(func() {
		close(l.done)
		if hard {
			reset(l.client)
		} else {
			l.client.Close() //nolint:errcheck // nothing is left to be told
		}
		l.machine.Close() //nolint:errcheck // nothing is left to be told
	})
}

// reset closes with a TCP reset instead of a farewell.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // a connection that is gone needs no reset
	}
	c.Close() //nolint:errcheck // nothing is left to be told
}
