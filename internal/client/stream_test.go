package client

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func pemOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestReadEvents(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"one":         {"id: 1\nevent: put\ndata: a\n\n", "1/put/a;"},
		"many lines":  {"data: a\ndata: b\n\n", "//a\nb;"},
		"comment":     {": hello\n\ndata:a\n\n", "//a;"},
		"carriage":    {"data: a\r\n\r\n", "//a;"},
		"cut off":     {"data: a\n\ndata: b\n", "//a;"},
		"no data":     {"id: 3\n\n", ""},
		"empty data":  {"data\n\n", "//;"},
		"other field": {"retry: 10\nx: y\ndata: a\n\n", "//a;"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			err := readEvents(strings.NewReader(test.in), func(string) {}, func(e event) error {
				fmt.Fprintf(&got, "%s/%s/%s;", e.id, e.name, e.data)
				return nil
			})
			if err != nil || got.String() != test.want {
				t.Errorf("got %q, %v; want %q", got.String(), err, test.want)
			}
		})
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1\ndata: a\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		err := readEvents(strings.NewReader(in), func(string) {}, func(e event) error {
			if strings.Contains(e.id, "\n") || strings.Contains(e.name, "\n") {
				t.Errorf("event %+v spans lines", e)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What the server says beside the events is passed on, its heartbeat is not.
func TestReadComments(t *testing.T) {
	var got []string
	err := readEvents(strings.NewReader(":open\n\n: 4 messages were dropped\ndata: :\n\n"), func(comment string) {
		if comment != "" {
			got = append(got, comment)
		}
	}, func(event) error { return nil })
	if err != nil || strings.Join(got, ";") != "open;4 messages were dropped" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A stream that breaks goes on behind the last event that was handled.
func TestMessagesResume(t *testing.T) {
	var connects atomic.Int32
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/messages": func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query()["filter"]; len(got) != 2 || got[0] != "a/#" {
			t.Errorf("filters are %q", got)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		n := int(connects.Add(1))
		if want := map[int]string{1: "", 2: "s-1", 3: "s-2"}[n]; r.Header.Get("Last-Event-ID") != want {
			t.Errorf("connection %d resumes after %q, want %q", n, r.Header.Get("Last-Event-ID"), want)
		}
		reply(t, w, fmt.Sprintf(": hello\n\nid: s-%d\ndata: {\"topic\":\"a/%d\",\"payload\":\"x\"}\n\n", n, n))
	}})
	enough := errors.New("enough")
	var topics []string
	err := c.Messages(t.Context(), []string{"a/#", "b"}, func(m spec.MessageView) error {
		if topics = append(topics, m.Topic); len(topics) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || strings.Join(topics, " ") != "a/1 a/2 a/3" {
		t.Errorf("got %q, %v", topics, err)
	}
}

func TestMessagesRefused(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/messages": func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusForbidden, spec.Problem{Kind: spec.Forbidden, Detail: "no"})
	}})
	err := c.Messages(t.Context(), []string{"#"}, func(spec.MessageView) error { return nil })
	if spec.KindOf(err) != spec.Forbidden {
		t.Errorf("error is %v", err)
	}
}

func TestMessagesCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/messages": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}})
	if err := c.Messages(ctx, []string{"#"}, func(spec.MessageView) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
