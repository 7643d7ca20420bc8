package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// startAPI serves the script's files as answers: GET /api/v1/services from the file
// "GET.services", a stream from one whose text begins with "data:" or "id:", a problem from
// one that has a status. What was sent is kept beside it: "POST.plan.sent", and the query of
// a list: "GET.endpoints.query". It shows what the
// commands make of answers; the end-to-end tests show the same against a real instance.
func startAPI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: api")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method + "." + strings.ReplaceAll(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/", ".")
		if r.URL.RawQuery != "" {
			if err := os.WriteFile(ts.MkAbs(name+".query"), []byte(r.URL.RawQuery+"\n"), 0o600); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		if err := replay(w, r, ts.MkAbs(name)); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("MILLWRIGHT_URL", server.URL)
	ts.Setenv("MILLWRIGHT_TOKEN", "t")
}

func replay(w http.ResponseWriter, r *http.Request, path string) error {
	var sent json.RawMessage
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			return err
		}
		if err := os.WriteFile(path+".sent", append(sent, '\n'), 0o600); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var problem struct {
		Status int `json:"status"`
	}
	status := http.StatusOK
	switch {
	case strings.HasPrefix(string(text), "data:"), strings.HasPrefix(string(text), "id:"):
		w.Header().Set("Content-Type", "text/event-stream")
	case json.Unmarshal(text, &problem) == nil && problem.Status != 0:
		w.Header().Set("Content-Type", "application/problem+json")
		status = problem.Status
	default:
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, err = fmt.Fprint(w, string(text))
	return err
}

// replyTo serves what reply returns for each request; nil is an answer without content.
func replyTo(t *testing.T, reply func(method, path, authorization string, body map[string]any) any) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if r.ContentLength > 0 {
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
		}
		answer := reply(r.Method, r.URL.Path, r.Header.Get("Authorization"), body)
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
