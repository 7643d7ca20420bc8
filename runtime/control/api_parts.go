package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/millwright/millwright/internal/spec"
)

const (
	// takeoverPatience is how long a group of a stream waits for the part to say that it has
	// taken the one before over.
	takeoverPatience = 10 * time.Second
	// eventsAtOnce is how many bytes of a snapshot are written at once.
	eventsAtOnce = 64 << 10
)

type watchInput struct {
	Part        string `query:"part" enum:"broker,mapper" required:"true" doc:"What the caller is."`
	Agent       string `query:"agent" doc:"Which mapper the caller is."`
	LastEventID string `header:"Last-Event-ID" doc:"The cursor of the last group that was taken over: the stream goes on behind it."`
}

type challengeOutput struct{ Body spec.ChallengeReply }

type joinOutput struct{ Body spec.JoinReply }

type joinTokenOutput struct{ Body spec.JoinToken }

type statusInput struct {
	ID      string `path:"id"`
	RawBody []byte `contentType:"application/json"`
}

// registerParts: what parts in processes of their own use. Those in this one call.
func (c *Control) registerParts(api huma.API) {
	if c.opts.Authority == nil {
		return
	}
	register(c, api, operation{
		id: "join-challenge", method: http.MethodPost, path: "/join/challenge", summary: "Have the instance prove that it knows a part's join token",
		access: anybody, body: spec.ChallengeRequest{}, maxBody: maxSmallBody,
	}, func(ctx context.Context, in *rawBody) (*challengeOutput, error) {
		var req spec.ChallengeRequest
		if err := decodeBody(in.RawBody, &req); err != nil {
			return nil, err
		}
		reply, err := c.challenge(ctx, req)
		return &challengeOutput{reply}, err
	})
	register(c, api, operation{
		id: "join", method: http.MethodPost, path: "/join", summary: "Trade a join token for a part's certificate",
		access: anybody, body: spec.JoinRequest{}, maxBody: maxSmallBody,
	}, func(ctx context.Context, in *rawBody) (*joinOutput, error) { return c.answerJoin(ctx, in, nil) })
	register(c, api, operation{
		id: "renew", method: http.MethodPost, path: "/join/renew", summary: "Renew a part's certificate, before it ends",
		access: byPart, body: spec.JoinRequest{}, maxBody: maxSmallBody,
	}, func(ctx context.Context, in *rawBody) (*joinOutput, error) {
		part := partOf(ctx)
		return c.answerJoin(ctx, in, &part)
	})
	register(c, api, operation{
		id: "create-join-token", method: http.MethodPost, path: "/agents/{id}/join-token", summary: "Make a token that lets a part join, once; its secret is shown this once",
		status: http.StatusCreated,
	}, func(ctx context.Context, in *idInput) (*joinTokenOutput, error) {
		t, err := c.IssueJoinToken(ctx, in.ID)
		return &joinTokenOutput{t}, err
	})
	register(c, api, operation{
		id: "report-status", method: http.MethodPost, path: "/agents/{id}/status", summary: "Say what a part has taken over, and how its resources stand",
		access: byPart, body: spec.AgentStatus{}, maxBody: maxBody, status: http.StatusNoContent,
	}, c.takeStatus)
	register(c, api, operation{
		id: "watch", method: http.MethodGet, path: "/watch", summary: "Stream what a part is to do (server-sent events)", access: byPart,
	}, c.streamWatch)
	api.OpenAPI().Paths[apiRoot+"/watch"].Get.Responses["200"] = &huma.Response{
		Description: "Groups of events, each ended by synced, whose id is the cursor to resume at",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
	}
}

func partOf(ctx context.Context) partRecord {
	part, _ := ctx.Value(partKey).(partRecord)
	return part
}

func (c *Control) answerJoin(ctx context.Context, in *rawBody, before *partRecord) (*joinOutput, error) {
	var req spec.JoinRequest
	if err := decodeBody(in.RawBody, &req); err != nil {
		return nil, err
	}
	reply, err := c.join(ctx, req, before)
	return &joinOutput{reply}, err
}

// takeStatus takes a part's report of itself.
func (c *Control) takeStatus(ctx context.Context, in *statusInput) (*struct{}, error) {
	var report spec.AgentStatus
	if err := decodeBody(in.RawBody, &report); err != nil {
		return nil, err
	}
	part := partOf(ctx)
	if part.Name != in.ID || report.Agent != in.ID {
		return nil, spec.Errorf(spec.Forbidden, "part %q cannot report for %q", part.Name, in.ID)
	}
	if part.Name != spec.BrokerPart {
		return nil, c.Report(ctx, report)
	}
	c.takeBroker(report)
	return nil, nil
}

// watching is one live stream of a part.
type watching struct{ end context.CancelFunc }

// begin makes the stream the part's one live stream: another one is of a connection that is lost.
func (c *Control) begin(ctx context.Context, part string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watching{cancel}
	c.mu.Lock()
	if before := c.watching[part]; before != nil {
		before.end()
	}
	c.watching[part] = w
	c.mu.Unlock()
	return ctx, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.watching[part] == w {
			delete(c.watching, part)
		}
	}
}

func (c *Control) streamWatch(ctx context.Context, in *watchInput) (*streamOutput, error) {
	part := partOf(ctx)
	switch {
	case in.Part == "broker" && part.Name == spec.BrokerPart && in.Agent == "":
		return &streamOutput{func(hctx huma.Context) {
			streamHub(ctx, hctx, c, part.Name, in.LastEventID, c.Identities(), c.policyTaken)
		}}, nil
	case in.Part == "mapper" && part.Name != spec.BrokerPart && part.Name == in.Agent:
		return &streamOutput{func(hctx huma.Context) {
			streamHub(ctx, hctx, c, part.Name, in.LastEventID, c.Resources(in.Agent), nil)
		}}, nil
	}
	return nil, spec.Errorf(spec.Forbidden, "part %q cannot watch as %s %q", part.Name, in.Part, in.Agent)
}

// policyTaken waits until the broker says that a revision is in force, so that an apply is
// answered no sooner. One that says nothing for a while is not waited for.
func (c *Control) policyTaken(ctx context.Context, revision int64) error {
	timeout := time.NewTimer(takeoverPatience)
	defer timeout.Stop()
	for {
		reported := c.reported.wait()
		c.mu.Lock()
		taken := c.policy >= revision
		c.mu.Unlock()
		if taken {
			return nil
		}
		select {
		case <-reported:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			c.opts.Log.Warn("the broker does not say that it has taken over a change", "revision", revision)
			return nil
		}
	}
}

// streamHub writes a watch's events, a comment when there is nothing to say, and ends when the
// part goes or is forgotten. Taken, where it is given, waits until the part has a revision.
func streamHub[T any](ctx context.Context, hctx huma.Context, c *Control, part, after string, watch spec.Watch[T], taken func(context.Context, int64) error) {
	request, _ := humago.Unwrap(hctx)
	ctx, end := c.begin(ctx, part)
	e := startEvents(hctx)
	frames, over := make(chan []byte), make(chan struct{})
	var why error // of over
	go func() {
		defer close(over)
		why = watch.Watch(ctx, after, framer[T](ctx, frames, taken))
	}()
	defer func() {
		end()
		<-over
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	access := c.access.wait()
	err := e.comment("open")
	for err == nil {
		select {
		case <-over:
			err = why
		case frame := <-frames:
			err = e.write(string(frame))
		case <-access:
			access = c.access.wait()
			_, err = c.partFrom(request)
		case <-tick.C:
			err = e.comment("alive")
		}
	}
	c.opts.Log.Debug("a part's stream ended", "part", part, "error", err)
}

// framer returns what collects a watch's events into frames that are worth a write.
func framer[T any](ctx context.Context, frames chan<- []byte, taken func(context.Context, int64) error) func(spec.Event[T]) error {
	var frame bytes.Buffer
	return func(event spec.Event[T]) error {
		text, err := json.Marshal(event)
		if err != nil {
			return err
		}
		if event.Type == spec.EventSynced {
			frame.WriteString("id: " + event.Cursor + "\n")
		}
		frame.WriteString("event: " + string(event.Type) + "\ndata: ")
		frame.Write(text)
		frame.WriteString("\n\n")
		if event.Type != spec.EventSynced && frame.Len() < eventsAtOnce {
			return nil
		}
		select {
		case frames <- bytes.Clone(frame.Bytes()):
		case <-ctx.Done():
			return ctx.Err()
		}
		frame.Reset()
		if event.Type == spec.EventSynced && taken != nil {
			return taken(ctx, event.Revision)
		}
		return nil
	}
}
