package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/millwright/millwright/internal/spec"
)

// LogLine is one line that a part of an instance wrote.
type LogLine struct {
	Part string    `json:"part"`
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

const (
	// logHistory is how many lines of each part Logs reaches back.
	logHistory = "1000"
	// logRetry is the pause before a part is listened to again that has stopped.
	logRetry = time.Second
	// longestLogLine is what is kept of a line, in bytes.
	longestLogLine = 64 << 10
)

// Logs calls each with the last lines that the containers of an instance's parts (none: of all)
// wrote, oldest first, and then with every new one, also of a container that is started again
// or replaced. It ends with the error of each, or when ctx ends, with the context's. An instance
// or part that is not there is of kind not_found.
func (e *Engine) Logs(ctx context.Context, instance string, parts []string, each func(LogLine) error) error {
	names, err := e.logged(ctx, instance, parts)
	if err != nil {
		return err
	}
	var history []LogLine
	since := map[string]time.Time{}
	for part, name := range names {
		err := e.readLog(ctx, part, name, container.LogsOptions{Tail: logHistory}, func(l LogLine) error {
			history, since[part] = append(history, l), l.Time
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortStableFunc(history, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	for _, l := range history {
		if err := each(l); err != nil {
			return err
		}
	}
	return e.followLogs(ctx, names, since, each)
}

// logged finds the containers by part.
func (e *Engine) logged(ctx context.Context, instance string, parts []string) (map[string]string, error) {
	o, err := e.observe(ctx, instance)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	var known []string
	for _, c := range o.Containers {
		known = append(known, c.Part)
		if len(parts) == 0 || slices.Contains(parts, c.Part) {
			names[c.Part] = c.Name
		}
	}
	if len(known) == 0 {
		return nil, spec.Errorf(spec.NotFound, "cannot find instance %q: it has no containers on this engine", instance)
	}
	for _, part := range parts {
		if !slices.Contains(known, part) {
			return nil, spec.Errorf(spec.NotFound, "cannot find part %q: those of instance %q are %s", part, instance, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// followLogs listens to all parts at once. Lines come to each one after the other.
func (e *Engine) followLogs(ctx context.Context, names map[string]string, since map[string]time.Time, each func(LogLine) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	var one sync.Mutex
	for part, name := range names {
		last := since[part]
		running.Go(func() {
			cancel(e.followPart(ctx, part, name, last, func(l LogLine) error {
				one.Lock()
				defer one.Unlock()
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return each(l)
			}))
		})
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// followPart listens to a part's container, whichever that is, until ctx ends or each fails.
func (e *Engine) followPart(ctx context.Context, part, name string, last time.Time, each func(LogLine) error) error {
	for {
		options := container.LogsOptions{Follow: true, Since: last.UTC().Format(time.RFC3339Nano)}
		if last.IsZero() {
			options.Since = ""
		}
		err := e.readLog(ctx, part, name, options, func(l LogLine) error {
			if !l.Time.After(last) {
				return nil
			}
			last = l.Time
			return each(l)
		})
		if err != nil && spec.KindOf(err) != spec.NotFound {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(logRetry):
		}
	}
}

// readLog reads a container's log to its end.
func (e *Engine) readLog(ctx context.Context, part, name string, options container.LogsOptions, each func(LogLine) error) error {
	options.ShowStdout, options.ShowStderr, options.Timestamps = true, true, true
	log, err := e.api.ContainerLogs(ctx, name, options)
	if errdefs.IsNotFound(err) {
		return spec.Errorf(spec.NotFound, "cannot read the log of container %s: it is not there", name)
	}
	if err != nil {
		return e.failed("read the log of container "+name, err)
	}
	defer log.Close() //nolint:errcheck // it was only read
	text, w := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(w, w, log)
		copied <- errors.Join(err, w.Close())
	}()
	failed := eachLine(text, part, each)
	ended := errors.Join(text.Close(), log.Close(), <-copied)
	if failed != nil {
		return failed
	}
	if ended != nil && ctx.Err() == nil {
		return e.failed("read the log of container "+name, ended)
	}
	return nil
}

// eachLine reads lines that begin with their time.
func eachLine(text io.Reader, part string, each func(LogLine) error) error {
	lines := bufio.NewReaderSize(text, longestLogLine)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return nil // the copier says why
		}
		stamp, rest, _ := strings.Cut(string(line), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		for more && err == nil { // the rest of a line that is too long
			_, more, err = lines.ReadLine()
		}
		if err != nil {
			continue
		}
		if err := each(LogLine{Part: part, Time: at, Text: rest}); err != nil {
			return err
		}
	}
}
