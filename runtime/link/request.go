package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

const (
	dialTimeout    = 10 * time.Second
	requestTimeout = 30 * time.Second
	// maxReply bounds the answer to anything but a watch.
	maxReply = 1 << 20
)

// newClient speaks HTTP/1.1, so that a stream and its connection are one. Proxies are for the
// outside, not for the parts of an instance.
func newClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConns:        2,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends one request below /api/v1 and decodes the answer.
func (l *Link) do(ctx context.Context, client *http.Client, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write a request: %w", err)
	}
	request, err := l.request(ctx, method, path, text)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return unreachable(err)
	}
	if response.StatusCode >= 300 {
		return problem(response.StatusCode, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return spec.Errorf(spec.Internal, "cannot read the control part's answer: %w", err)
	}
	return nil
}

func (l *Link) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, l.base.JoinPath("api/v1", path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if l.opts.Version != "" {
		request.Header.Set("User-Agent", "millwright/"+l.opts.Version)
	}
	return request, nil
}

func unreachable(err error) error {
	return spec.Errorf(spec.Unavailable, "cannot reach the control part: %w", err)
}

// problem makes an error of a refusal.
func problem(status int, answer []byte) error {
	var p spec.Problem
	if err := json.Unmarshal(answer, &p); err != nil || p.Kind == "" {
		return spec.Errorf(spec.Unavailable, "cannot use the control part's answer: HTTP status %d", status)
	}
	e := spec.Errorf(p.Kind, "%s", p.Detail)
	if p.Hint != "" {
		return e.WithHint("%s", p.Hint)
	}
	return e
}

// Report takes a part's status to the control part. An error of kind Conflict asks for a full one.
func (l *Link) Report(ctx context.Context, s spec.AgentStatus) error {
	if !l.member(l.identity()) {
		return errNotJoined()
	}
	err := l.do(ctx, l.client, http.MethodPost, "agents/"+l.opts.Part+"/status", s, nil)
	l.noteRefusal(err)
	return err
}

// errSilent ends a stream that has said nothing for too long.
var errSilent = errors.New("it has said nothing for " + silence.String())
