package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/millwright/millwright/internal/spec"
)

// MessageSource is how the API reads the broker's messages; the gateway gives it.
type MessageSource interface {
	// Subscribe delivers matching messages in order, retained ones first, until stop is
	// called, which returns after the last deliver has. Deliver never blocks.
	Subscribe(ctx context.Context, filter string, deliver func(Message)) (stop func(), err error)
}

// Message is one message of the broker.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

const (
	// heartbeat is how often a stream that has nothing to say shows that it lives, and
	// checks that its token has not expired. A change of tokens, users and roles it checks at once.
	heartbeat = 15 * time.Second
	// writeTimeout ends a stream whose reader is stuck.
	writeTimeout = 30 * time.Second
	maxFilters   = 100
)

type streamInput struct {
	LastEventID string `header:"Last-Event-ID" doc:"Resumes behind this event."`
}

type messagesInput struct {
	LastEventID string   `header:"Last-Event-ID" doc:"The stream is resumed: retained messages are left out, ids go on."`
	Filter      []string `query:"filter,explode" doc:"MQTT topic filter; may be repeated."`
}

type streamOutput struct{ Body func(huma.Context) }

func (c *Control) registerStreams(api huma.API) {
	register(c, api, operation{
		id: "messages", method: http.MethodGet, path: "/messages", access: loggedIn,
		summary: "Stream the messages on topics that match (server-sent events); needs MQTT read permission on each filter",
	}, c.streamMessages)
	register(c, api, operation{
		id: "events", method: http.MethodGet, path: "/events", summary: "Stream what was applied and which services changed their state (server-sent events)",
	}, func(ctx context.Context, in *streamInput) (*streamOutput, error) {
		return streamRing(ctx, c, c.events, in.LastEventID)
	})
	register(c, api, operation{
		id: "logs", method: http.MethodGet, path: "/logs", summary: "Stream the log (server-sent events)",
	}, func(ctx context.Context, in *streamInput) (*streamOutput, error) {
		if c.opts.Logs == nil {
			return nil, spec.Errorf(spec.Unavailable, "cannot stream the log: this process keeps none")
		}
		return streamRing(ctx, c, c.opts.Logs.lines, in.LastEventID)
	})
	for _, path := range []string{"/messages", "/events", "/logs"} {
		api.OpenAPI().Paths[apiRoot+path].Get.Responses["200"] = &huma.Response{
			Description: "A stream that ends when the caller goes, or may no longer read it",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
		}
	}
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func startEvents(hctx huma.Context) *events {
	_, w := humago.Unwrap(hctx)
	e := &events{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	return e
}

func (e *events) send(id string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.write("id: " + id + "\ndata: " + string(text) + "\n\n")
}

func (e *events) comment(text string) error { return e.write(": " + text + "\n\n") }

func (e *events) write(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}

// stillMay ends a stream whose token was revoked, or whose user lost the permission.
func (c *Control) stillMay(ctx context.Context, r *http.Request, check func(*caller) error) error {
	secret, err := bearer(r)
	if err != nil {
		return err
	}
	who, err := c.authenticate(ctx, secret)
	if err != nil {
		return err
	}
	return check(who)
}

// streamRing follows a ring from the event that the client saw last.
func streamRing[T any](ctx context.Context, c *Control, r *ring[T], last string) (*streamOutput, error) {
	if err := c.openStream(ctx); err != nil {
		return nil, err
	}
	return &streamOutput{Body: func(hctx huma.Context) {
		request, _ := humago.Unwrap(hctx)
		still := func() error {
			return c.stillMay(ctx, request, func(who *caller) error { return who.route(spec.Read, request.URL.Path) })
		}
		e := startEvents(hctx)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		position := r.position(last)
		access := c.access.wait()
		err := e.open(still)
		for err == nil {
			moved := r.changed.wait()
			if position, err = sendAfter(e, r, position); err != nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-moved:
			case <-access:
				access = c.access.wait()
				err = still()
			case <-tick.C:
				err = e.alive(still)
			}
		}
		c.opts.Log.Debug("a stream ended", "path", request.URL.Path, "error", err)
	}}, nil
}

// sendAfter writes what came to a ring after the position, and returns where that ends.
func sendAfter[T any](e *events, r *ring[T], position int64) (int64, error) {
	entries, next := r.after(position)
	for _, x := range entries {
		if err := e.send(x.id, x.value); err != nil {
			return next, err
		}
	}
	return next, nil
}

// open begins a stream, whose caller may have lost the permission since they were let in.
func (e *events) open(still func() error) error {
	if err := still(); err != nil {
		return err
	}
	return e.comment("open")
}

// alive shows that the stream lives; its token may have expired.
func (e *events) alive(still func() error) error {
	if err := still(); err != nil {
		return err
	}
	return e.comment("alive")
}

func checkFilters(filters []string) error {
	if len(filters) == 0 || len(filters) > maxFilters {
		return spec.Errorf(spec.Invalid, "cannot stream messages for %d filters: give 1 to %d", len(filters), maxFilters)
	}
	for _, filter := range filters {
		if err := spec.CheckFilter(filter); err != nil {
			return err
		}
	}
	return nil
}

func mayRead(who *caller, filters []string) error {
	for _, filter := range filters {
		if err := who.may(spec.MQTT, spec.Read, filter); err != nil {
			return err
		}
	}
	return nil
}

func (c *Control) streamMessages(ctx context.Context, in *messagesInput) (*streamOutput, error) {
	if c.opts.Messages == nil {
		return nil, spec.Errorf(spec.Unavailable, "cannot stream messages: this process has no broker")
	}
	if err := checkFilters(in.Filter); err != nil {
		return nil, err
	}
	if err := mayRead(callerOf(ctx), in.Filter); err != nil {
		return nil, err
	}
	if err := c.openStream(ctx); err != nil {
		return nil, err
	}
	f := newFeed()
	var stops []func()
	stop := func() {
		for _, s := range stops {
			s()
		}
	}
	for _, filter := range in.Filter {
		s, err := c.opts.Messages.Subscribe(ctx, filter, f.deliver)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, s)
	}
	return &streamOutput{Body: func(hctx huma.Context) {
		defer stop()
		c.pump(ctx, hctx, in, f)
	}}, nil
}

// pump writes a feed's messages. A stream that is resumed leaves out the retained messages,
// which its reader has had; messages of the time between are gone, since none are kept.
func (c *Control) pump(ctx context.Context, hctx huma.Context, in *messagesInput, f *feed) {
	request, _ := humago.Unwrap(hctx)
	e := startEvents(hctx)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	number, err := strconv.ParseUint(in.LastEventID, 10, 64)
	resumed := err == nil
	still := func() error {
		return c.stillMay(ctx, request, func(who *caller) error { return mayRead(who, in.Filter) })
	}
	access := c.access.wait()
	err = e.open(still)
	for err == nil {
		if err = c.tellDropped(ctx, e, f); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-access:
			access = c.access.wait()
			err = still()
		case v := <-f.queue:
			f.taken(v)
			if v.Retain && resumed {
				continue
			}
			number++
			err = e.send(strconv.FormatUint(number, 10), v)
		case <-tick.C:
			err = e.alive(still)
		}
	}
	c.opts.Log.Debug("a stream of messages ended", "error", err)
}

// tellDropped tells a reader who is too slow how many messages it missed.
func (c *Control) tellDropped(ctx context.Context, e *events, f *feed) error {
	n := f.dropped.Swap(0)
	if n == 0 {
		return nil
	}
	c.opts.Log.Warn("a reader of messages is too slow", "user", callerOf(ctx).username, "dropped", n)
	return e.comment(fmt.Sprintf("%d messages were dropped: the reader is too slow", n))
}
