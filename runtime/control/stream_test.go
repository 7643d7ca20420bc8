package control

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// source is a broker that the test publishes through.
type source struct {
	mu    sync.Mutex
	subs  map[int]subscription
	next  int
	ready chan struct{} // one element for each subscription
}

type subscription struct {
	filter  string
	deliver func(Message)
}

func newSource() *source {
	return &source{subs: map[int]subscription{}, ready: make(chan struct{}, 100)}
}

func (s *source) Subscribe(_ context.Context, filter string, deliver func(Message)) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.subs[id] = subscription{filter, deliver}
	s.ready <- struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, id)
	}, nil
}

func (s *source) publish(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if spec.TopicMatches(sub.filter, m.Topic) {
			sub.deliver(m)
		}
	}
}

// stream is an open stream of events.
type stream struct {
	*testing.T
	lines *bufio.Scanner
	close func()
}

func (i *instance) stream(path, token, last string) stream {
	i.Helper()
	ctx, cancel := context.WithCancel(i.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.server.URL+path, http.NoBody)
	if err != nil {
		i.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Last-Event-ID", last)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		i.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		i.Fatalf("the stream answers %s", response.Status)
	}
	closing := func() {
		cancel()
		response.Body.Close()
	}
	i.Cleanup(closing)
	return stream{i.T, bufio.NewScanner(response.Body), closing}
}

// next reads one event.
func (s stream) next(into any) (id string) {
	s.Helper()
	for s.lines.Scan() {
		if rest, ok := strings.CutPrefix(s.lines.Text(), "id: "); ok {
			id = rest
		}
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), into); err != nil {
				s.Fatal(err)
			}
			return id
		}
	}
	s.Fatalf("the stream ended: %v", s.lines.Err())
	return ""
}

func TestMessages(t *testing.T) {
	broker := newSource()
	i := start(t, func(o *Options) { o.Messages = broker })
	token := i.with("viewer", spec.Permission{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT})
	for _, filter := range []string{"other/#", "#", "plant/+/x&filter=other"} {
		i.do(http.MethodGet, "/api/v1/messages?filter="+strings.ReplaceAll(filter, "#", "%23"), token, nil).problem(spec.Forbidden)
	}
	i.do(http.MethodGet, "/api/v1/messages", token, nil).problem(spec.Invalid)
	i.do(http.MethodGet, "/api/v1/messages?filter=plant/%23/x", token, nil).problem(spec.Invalid)

	s := i.stream("/api/v1/messages?filter=plant/a&filter=plant/b/%23", token, "")
	<-broker.ready
	<-broker.ready
	broker.publish(Message{Topic: "plant/a", Payload: []byte(`{"value": 9007199254740993}`), QoS: 1})
	broker.publish(Message{Topic: "plant/c", Payload: []byte("not asked for")})
	broker.publish(Message{Topic: "plant/b/x", Payload: []byte{0xff, 0}, Retain: true})
	var m spec.MessageView
	if id := s.next(&m); id != "1" || m.Payload != `{"value": 9007199254740993}` || m.QoS != 1 || m.PayloadBase64 {
		t.Errorf("message %s is %+v", id, m)
	}
	if id := s.next(&m); id != "2" || m.Payload != "/wA=" || !m.PayloadBase64 || !m.Retain {
		t.Errorf("message %s is %+v", id, m)
	}
	s.close()

	s = i.stream("/api/v1/messages?filter=plant/a", token, "2")
	<-broker.ready
	broker.publish(Message{Topic: "plant/a", Payload: []byte("old"), Retain: true})
	broker.publish(Message{Topic: "plant/a", Payload: []byte("new")})
	m = spec.MessageView{}
	if id := s.next(&m); id != "3" || m.Payload != "new" {
		t.Errorf("message %s is %+v", id, m)
	}
}

// A reader that does not read holds nobody back, and is told what it missed.
func TestSlowReader(t *testing.T) {
	f := &feed{queue: make(chan spec.MessageView, 2)}
	for range 5 {
		f.deliver(Message{Topic: "a"})
	}
	if len(f.queue) != 2 || f.dropped.Load() != 3 {
		t.Errorf("%d are queued, %d dropped", len(f.queue), f.dropped.Load())
	}
}

// What waits for a reader is bounded in bytes, also where each message is large.
func TestSlowReaderBytes(t *testing.T) {
	f := newFeed()
	f.deliver(Message{Topic: "a", Payload: make([]byte, 2*feedBytes)})
	if len(f.queue) != 1 {
		t.Error("an empty feed refuses a large message")
	}
	f.taken(<-f.queue)
	for range 100 {
		f.deliver(Message{Topic: "a", Payload: make([]byte, 1<<20)})
	}
	if n := len(f.queue); n != 15 || f.dropped.Load() != 85 {
		t.Errorf("%d are queued, %d dropped", n, f.dropped.Load())
	}
	for len(f.queue) > 0 {
		f.taken(<-f.queue)
	}
	if n := f.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestStreamsOfOneUser(t *testing.T) {
	i := start(t)
	open := func() int {
		i.control.mu.Lock()
		defer i.control.mu.Unlock()
		return i.control.streams["admin"]
	}
	var streams []stream
	for range userStreams {
		streams = append(streams, i.stream("/api/v1/events", i.token, ""))
	}
	i.do(http.MethodGet, "/api/v1/events", i.token, nil).problem(spec.Unavailable)
	other := i.with("other", grant("/api/v1/events", spec.Read))
	i.stream("/api/v1/events", other, "").close()
	streams[0].close()
	for open() == userStreams {
		runtime.Gosched()
	}
	i.stream("/api/v1/events", i.token, "")
}

func TestNoMessages(t *testing.T) {
	i := start(t)
	i.do(http.MethodGet, "/api/v1/messages?filter=a", i.token, nil).problem(spec.Unavailable)
	i.do(http.MethodGet, "/api/v1/logs", i.token, nil).problem(spec.Unavailable)
	i.do(http.MethodGet, "/api/v1/certificate", i.token, nil).problem(spec.NotFound)
}

func TestCertificate(t *testing.T) {
	i := start(t, func(o *Options) {
		o.Certificate = func() (spec.CertificateView, error) { return spec.CertificateView{PEM: "pem"}, nil }
	})
	if v := decodeAs[spec.CertificateView](i.do(http.MethodGet, "/api/v1/certificate", i.token, nil)); v.PEM != "pem" {
		t.Errorf("the certificate is %+v", v)
	}
}

func TestEvents(t *testing.T) {
	i := start(t)
	i.apply(plan.Request{Roles: []spec.Role{{Name: "a"}}})
	s := i.stream("/api/v1/events", i.token, "")
	var e Event
	last := s.next(&e)
	if e.Kind != EventApplied || e.User != "admin" || e.Steps[0] != "+ role/a" {
		t.Errorf("the event is %+v", e)
	}
	i.apply(plan.Request{Roles: []spec.Role{{Name: "b"}}})
	if s.next(&e); e.Steps[0] != "+ role/b" {
		t.Errorf("the event is %+v", e)
	}
	s.close()
	s = i.stream("/api/v1/events", i.token, last)
	if s.next(&e); e.Steps[0] != "+ role/b" {
		t.Errorf("the stream resumes at %+v", e)
	}
	defer i.mapperOf(spec.DefaultAgent, running)()
	i.apply(install("press", press))
	for e.Kind != EventState || e.State != stateEnabled {
		s.next(&e)
	}
	if e.Service != "press" {
		t.Errorf("the event is %+v", e)
	}
}

func TestLogs(t *testing.T) {
	logs := NewLogRing(slog.DiscardHandler, 10)
	loud := NewLogRing(slog.NewTextHandler(&strings.Builder{}, nil), 2)
	i := start(t, func(o *Options) { o.Logs = loud })
	log := slog.New(loud).With("part", "mapper").WithGroup("g").With("n", 1)
	for _, message := range []string{"one", "two", "three", "four"} {
		log.Info(message, "k", "v", slog.Group("h", "x", true))
	}
	if logs.Enabled(t.Context(), slog.LevelError) {
		t.Error("a ring keeps what its handler does not want")
	}
	s := i.stream("/api/v1/logs", i.token, "")
	var line LogLine
	for line.Message != "four" {
		s.next(&line)
	}
	if got, err := json.Marshal(line.Attributes); err != nil || string(got) != `{"g.h.x":true,"g.k":"v","g.n":1,"part":"mapper"}` {
		t.Errorf("the line is %s, %v", got, err)
	}
}

// A stream ends at once when its token is revoked, or its user changes or goes.
func TestStreamsAreCheckedAgain(t *testing.T) {
	for name, end := range map[string]func(i *instance, token spec.TokenSecret){
		"revoked": func(i *instance, token spec.TokenSecret) {
			i.do(http.MethodDelete, "/api/v1/tokens/"+token.ID, i.token, nil).want(http.StatusNoContent)
		},
		"logged out": func(i *instance, token spec.TokenSecret) {
			i.do(http.MethodPost, "/api/v1/logout", token.Token, nil).want(http.StatusNoContent)
		},
		"without permission": func(i *instance, _ spec.TokenSecret) {
			i.apply(plan.Request{Users: []spec.User{{Username: "viewer", Permissions: []spec.Permission{}}}})
		},
		"without a user": func(i *instance, _ spec.TokenSecret) {
			i.apply(plan.Request{Users: []spec.User{{Username: "viewer", State: spec.Absent}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := start(t, func(o *Options) { o.Messages = newSource() })
			viewer := i.with("viewer", grant("/api/v1/events", spec.Read), spec.Permission{Resource: "a", Operation: spec.Read, Context: spec.MQTT})
			token := mustCreate(t, i.do(http.MethodPost, "/api/v1/tokens", viewer, spec.TokenRequest{Name: "viewing"}))
			streams := []stream{i.stream("/api/v1/events", token.Token, ""), i.stream("/api/v1/messages?filter=a", token.Token, "")}
			end(i, token)
			began := time.Now()
			for _, s := range streams {
				for s.lines.Scan() { // to its end
				}
			}
			if time.Since(began) >= heartbeat {
				t.Error("the streams ended only at a sign of life")
			}
		})
	}
}
