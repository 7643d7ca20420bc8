package link

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// silence is how long a stream may say nothing, not even a comment, before it is taken for
	// dead. The control part comments every 15 s.
	silence = 45 * time.Second
	// maxLine bounds one line of a stream; a commissioning file is at most 16 MiB.
	maxLine = 64 << 20
)

// watch is the stream of a part's desired state.
type watch[T any] struct {
	link  *Link
	query url.Values
	taken func(context.Context, int64) error // told of each group that was handled; nil: nobody is
}

// Policy is the broker's watch. It tells the control part what is in force.
func (l *Link) Policy() spec.Watch[spec.Identity] {
	return watch[spec.Identity]{link: l, query: url.Values{"part": {"broker"}}, taken: func(ctx context.Context, revision int64) error {
		return l.Report(ctx, spec.AgentStatus{Agent: l.opts.Part, Revision: revision, Full: true})
	}}
}

// Resources is a mapper's watch; its reports tell what it has taken over.
func (l *Link) Resources() spec.Watch[spec.Resource] {
	return watch[spec.Resource]{link: l, query: url.Values{"part": {"mapper"}, "agent": {l.opts.Part}}}
}

// Watch implements spec.Watch. It returns when the stream breaks; whoever follows it calls
// again, after a pause, with the cursor that it has.
func (w watch[T]) Watch(ctx context.Context, after string, handle func(spec.Event[T]) error) error {
	select {
	case <-w.link.Joined():
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	err := w.follow(ctx, after, watchdog, handle)
	w.link.noteRefusal(err)
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return unreachable(cause)
	}
	return err
}

func (w watch[T]) follow(ctx context.Context, after string, watchdog *time.Timer, handle func(spec.Event[T]) error) error {
	request, err := w.link.request(ctx, http.MethodGet, "watch", nil)
	if err != nil {
		return err
	}
	request.URL.RawQuery = w.query.Encode()
	if after != "" {
		request.Header.Set("Last-Event-ID", after)
	}
	response, err := w.link.client.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
		if err != nil {
			return unreachable(err)
		}
		return problem(response.StatusCode, answer)
	}
	return w.read(ctx, response.Body, watchdog, handle)
}

// read hands events on. While one is handled the stream may be silent.
func (w watch[T]) read(ctx context.Context, stream io.Reader, watchdog *time.Timer, handle func(spec.Event[T]) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		watchdog.Reset(silence)
		data, is := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !is { // the event itself says its type and cursor
			continue
		}
		var event spec.Event[T]
		if err := json.Unmarshal(data, &event); err != nil {
			return spec.Errorf(spec.Internal, "cannot read an event of the watch: %w", err)
		}
		watchdog.Stop()
		if err := w.handle(ctx, event, handle); err != nil {
			return err
		}
		watchdog.Reset(silence)
	}
	if err := lines.Err(); err != nil {
		return unreachable(err)
	}
	return unreachable(errors.New("it closed the stream"))
}

func (w watch[T]) handle(ctx context.Context, event spec.Event[T], handle func(spec.Event[T]) error) error {
	if err := handle(event); err != nil {
		return err
	}
	if event.Type != spec.EventSynced || w.taken == nil {
		return nil
	}
	return w.taken(ctx, event.Revision)
}
