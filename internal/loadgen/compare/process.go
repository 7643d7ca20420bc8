package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/millwright/millwright/internal/loadgen"
)

// process is a server under load, a process of its own.
type process struct {
	cmd    *exec.Cmd
	server loadgen.Server
	output *tail
	ended  chan struct{} // closed when the process is gone
	err    error         // of its end
}

// startLimit is how long a server may take until it serves.
const startLimit = 2 * time.Minute

// launch starts a command and returns at once.
func launch(cmd *exec.Cmd, s loadgen.Server) (*process, error) {
	p := &process{cmd: cmd, server: s, output: &tail{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", cmd.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// listening waits until the server serves, or has ended.
func (p *process) listening(ctx context.Context) (loadgen.Listening, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-stop:
		}
	}()
	l, err := loadgen.AwaitListening(ctx, p.server)
	if err != nil {
		return l, fmt.Errorf("%q does not serve: %w\n%s", p.cmd.Path, err, p.output.String())
	}
	return l, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the server as an operator would, or with SIGKILL where it does not end.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	select {
	case <-p.ended:
		return nil
	case <-patience.C:
		return errors.Join(fmt.Errorf("%q does not end on SIGTERM", p.cmd.Path), p.kill())
	}
}

// kill ends the server with SIGKILL.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", 0, err
	}
	address := l.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.Join(err, l.Close())
	}
	n, err := strconv.Atoi(port)
	return address, n, errors.Join(err, l.Close())
}

// tail keeps the end of what a server prints.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	const kept = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if extra := t.buf.Len() - kept; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
