package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// child is a process of the demo that runs beside it.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   *lastOutput
	done  chan struct{} // closed when the process has ended
	err   error         // how it ended; to be read after done
}

// start prints and starts a command that goes on running. Its output is kept, and shown
// only if it fails.
func (d *demo) start(ctx context.Context, args ...string) (*child, error) {
	fmt.Fprintf(d.out, "\n$ millwright %s &\n", strings.ReplaceAll(strings.Join(args, " "), d.dir+string(os.PathSeparator), ""))
	c := &child{cmd: d.command(context.WithoutCancel(ctx), args...), log: &lastOutput{}, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start millwright %s: %w", args[0], err)
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
	}()
	return c, nil
}

// kill ends the process as a power failure would: SIGKILL, no chance to tidy up.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return err
	}
	<-c.done
	c.err = nil // it ended as asked
	return nil
}

// stop asks the process to end, as Ctrl-C does, and kills it if it has not after 10 s.
func (c *child) stop() error {
	err := interrupt(c.cmd.Process)
	if errors.Is(err, errors.ErrUnsupported) {
		return c.kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, c.kill())
	}
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("%s ended with %w:\n%s", c.cmd.Args[1], c.err, c.log)
		}
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("cannot stop millwright %s within 10 s; its last output:\n%s", c.cmd.Args[1], c.log), c.kill())
	}
}

// lastOutput keeps the last few kilobytes that were written to it.
type lastOutput struct {
	mu   sync.Mutex
	text []byte
}

const lastOutputBytes = 8 << 10

// Write implements io.Writer.
func (t *lastOutput) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - lastOutputBytes; extra > 0 {
		t.text = bytes.Clone(t.text[extra:])
	}
	return len(p), nil
}

// String returns what is kept.
func (t *lastOutput) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// joinErrors returns first alone where second is nil, so that its kind and hint stay on top.
func joinErrors(first, second error) error {
	if second == nil {
		return first
	}
	return errors.Join(first, second)
}
