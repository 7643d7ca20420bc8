package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// maxEventLine bounds one line of a stream; an MQTT payload is at most 256 MiB.
	maxEventLine = 512 << 20
	// silence is how long a stream may say nothing, not even a comment, before it is
	// taken for dead. The server comments every 15 s.
	silence = 45 * time.Second
)

// event is one server-sent event.
type event struct {
	id   string
	name string // empty: "message"
	data []byte
}

// Messages calls handle for each message on a topic that matches one of the filters, one
// after the other, until ctx ends or handle fails, and returns why. A stream that breaks is
// opened again and goes on after the last event that was handled; what the server no longer
// has by then is missed. A refusal (no permission, a bad filter) ends it.
func (c *Client) Messages(ctx context.Context, filters []string, handle func(spec.MessageView) error) error {
	return stream(ctx, c, "messages", url.Values{"filter": filters}, handle)
}

// LogLine is one line of the instance's log.
type LogLine struct {
	Time       time.Time      `json:"time"`
	Level      string         `json:"level"`
	Message    string         `json:"message"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// Logs calls handle for each line of the log that the instance still has, and then for each
// new one. It ends as Messages does.
func (c *Client) Logs(ctx context.Context, handle func(LogLine) error) error {
	return stream(ctx, c, "logs", nil, handle)
}

// stream follows one route. The first connection is tried as often as any other request;
// once it stood, it is opened again until ctx ends.
func stream[V any](ctx context.Context, c *Client, path string, query url.Values, handle func(V) error) error {
	s := &streamState{pause: firstPause}
	failures := 0
	for {
		err := c.follow(ctx, path, query, s, func(e event) error {
			var v V
			if err := unmarshal(e.data, &v); err != nil {
				return &handlerError{spec.Errorf(spec.Internal, "cannot read an event of %s: %w", path, err)}
			}
			if err := handle(v); err != nil {
				return &handlerError{err}
			}
			return nil
		})
		var mine *handlerError
		switch {
		case errors.As(err, &mine):
			return mine.error
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if failures++; s.opened {
			failures, s.opened, s.stood = 0, false, true
		}
		if (err != nil && !lost(err)) || (!s.stood && failures >= attempts) {
			return err
		}
		c.log.Warn("the stream broke; opening it again", "path", path, "pause", s.pause, "error", err)
		if stopped := sleep(ctx, s.pause); stopped != nil && s.stood {
			return stopped
		} else if stopped != nil {
			return err // it never stood: why matters more than that the time is over
		}
		s.pause = min(2*s.pause, maxPause)
	}
}

// streamState is what outlives one connection of a stream.
type streamState struct {
	last   string // id of the last event that was handled
	opened bool   // this connection was accepted
	stood  bool   // some connection was
	pause  time.Duration
}

// handlerError marks an error of the receiver, which ends the stream.
type handlerError struct{ error }

// lost tells a broken link from a refusal.
func lost(err error) bool { return spec.KindOf(err) == spec.Unavailable }

// follow reads one connection of a stream until it ends. A nil error is an end that the
// server made.
func (c *Client) follow(ctx context.Context, path string, query url.Values, s *streamState, handle func(event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	response, err := c.openStream(ctx, path, query, s.last)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	s.opened, s.pause = true, firstPause
	alive := func(comment string) {
		watchdog.Reset(silence)
		if comment != "" && comment != "open" && comment != "alive" {
			c.log.Warn("the server says", "path", path, "comment", comment)
		}
	}
	err = readEvents(response.Body, alive, func(e event) error {
		if err := handle(e); err != nil {
			return err
		}
		if e.id != "" {
			s.last = e.id
		}
		return nil
	})
	var mine *handlerError
	if err == nil || errors.As(err, &mine) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return spec.Errorf(spec.Unavailable, "cannot read the stream %s of %s: %w", path, c.base.Redacted(), err)
}

var errSilent = errors.New("the server fell silent")

func (c *Client) openStream(ctx context.Context, path string, query url.Values, last string) (*http.Response, error) {
	target := c.base.JoinPath("api/v1", path)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a request to %s: %w", path, err)
	}
	if err := c.prepare(ctx, request, false); err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/event-stream, application/problem+json")
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	response, err := c.exchange(request)
	if err != nil {
		return nil, err
	}
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || mediaType != "text/event-stream" {
		return nil, errors.Join(foreignAnswer(response), response.Body.Close())
	}
	return response, nil
}

// readEvents parses server-sent events. Alive is called for every line, with its text if it
// is a comment. An event that the end of the stream cut off is dropped.
func readEvents(r io.Reader, alive func(comment string), handle func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventLine)
	var (
		e    event
		data bytes.Buffer
		some bool // the event has a data line
	)
	for lines.Scan() {
		line := lines.Bytes()
		comment, _ := bytes.CutPrefix(line, []byte(":"))
		if len(comment) == len(line) {
			comment = nil
		}
		alive(string(bytes.TrimSpace(comment)))
		if len(line) == 0 {
			if some {
				e.data = bytes.TrimSuffix(data.Bytes(), []byte("\n"))
				if err := handle(e); err != nil {
					return err
				}
			}
			e, some = event{}, false
			data.Reset()
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) { // an empty field is a comment
		case "id":
			e.id = string(value)
		case "event":
			e.name = string(value)
		case "data":
			some = true
			data.Write(value)
			data.WriteByte('\n')
		}
	}
	return lines.Err()
}

func unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}
