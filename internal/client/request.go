package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// The pauses before a request that changes nothing is sent again.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
	attempts   = 4
)

// call is one request.
type call struct {
	method    string
	path      string // below /api/v1/
	query     url.Values
	body      any           // sent as JSON when not nil
	out       any           // the answer is decoded into it when not nil
	again     bool          // changes nothing, so that it may be sent again
	anonymous bool          // carries no token
	timeout   time.Duration // zero: answerTimeout
}

// do sends the call, again after a pause where that is safe and the server could not be
// reached or is busy, and decodes the answer.
func (c *Client) do(ctx context.Context, k call) error {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return spec.Errorf(spec.Internal, "cannot encode the request to %s: %w", k.path, err)
		}
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, k, body)
		if err == nil || !k.again || attempt == attempts || !worthRepeating(err) {
			return err
		}
		wait := pause
		var busy *busyError
		if errors.As(err, &busy) && busy.after > 0 {
			wait = min(busy.after, maxPause)
		}
		c.log.Debug("trying again", "path", k.path, "pause", wait, "error", err)
		if err := sleep(ctx, wait); err != nil {
			return stopped(err)
		}
		pause *= 2
	}
}

func (c *Client) once(ctx context.Context, k call, body []byte) error {
	timeout := k.timeout
	if timeout == 0 {
		timeout = answerTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := c.send(ctx, k, body)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if k.out == nil {
		return nil
	}
	return decode(response, k.out)
}

// send returns a response of the kind 2xx; every other answer is an error.
func (c *Client) send(ctx context.Context, k call, body []byte) (*http.Response, error) {
	target := c.base.JoinPath("api/v1").JoinPath(k.path)
	target.RawQuery = k.query.Encode()
	request, err := http.NewRequestWithContext(ctx, k.method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a request to %s: %w", k.path, err)
	}
	if err := c.prepare(ctx, request, k.anonymous); err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.exchange(request)
}

// prepare says who asks.
func (c *Client) prepare(ctx context.Context, request *http.Request, anonymous bool) error {
	request.Header.Set("User-Agent", c.userAgent())
	if anonymous {
		return nil
	}
	token, err := c.currentToken(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

func (c *Client) exchange(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(request, err)
	}
	if err := c.checkVersion(response.Header.Get(versionHeader)); err != nil {
		return nil, errors.Join(err, response.Body.Close())
	}
	if response.StatusCode/100 == 2 {
		c.answered.Store(true)
		return response, nil
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	return nil, c.failure(response, request.Header.Get("Authorization") != "")
}

// decode reads a JSON answer; numbers in untyped places keep all their digits.
func decode(response *http.Response, out any) error {
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return foreignAnswer(response)
	}
	d := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the answer of %s: %w", response.Request.URL.Redacted(), err)
	}
	return nil
}

func foreignAnswer(response *http.Response) error {
	return spec.Errorf(spec.Unavailable, "cannot read the answer of %s: it is %q, status %d, and not of this API",
		response.Request.URL.Redacted(), response.Header.Get("Content-Type"), response.StatusCode).
		WithHint("check the address: something else answers there")
}

// busyError is an answer that asks for patience; after is zero where it does not say how much.
type busyError struct {
	error
	after time.Duration
}

func (e *busyError) Unwrap() error { return e.error }

// Untouched reports whether the instance surely did nothing about a request that failed: it was
// not there, or it was busy and refused. Such a request may be sent again, whatever it asks for,
// after the pause that the answer asks for, if it does.
func Untouched(err error) (pause time.Duration, untouched bool) {
	var busy *busyError
	if errors.As(err, &busy) {
		return busy.after, true
	}
	return 0, errors.Is(err, syscall.ECONNREFUSED)
}

// worthRepeating tells an instance that is starting or busy from one that refuses.
func worthRepeating(err error) bool {
	var busy *busyError
	return errors.As(err, &busy) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > int(maxPause/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopped is the error of a call whose context ended while it waited.
func stopped(err error) error {
	return spec.Errorf(spec.Unavailable, "cannot wait longer for the instance: %w", err)
}
