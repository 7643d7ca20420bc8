package mappertest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

// bench is one case's machine, the proxy in front of it and the connector that dials the proxy.
type bench struct {
	Harness
	machine   Machine
	proxy     *Proxy
	connector mapper.Connector
	sessions  []mapper.Session
}

func (b *bench) close() {
	for _, s := range b.sessions {
		s.Close() //nolint:errcheck // cases that care have closed it before
	}
	if b.proxy != nil {
		b.proxy.Close()
	}
	if b.machine != nil {
		b.machine.Close()
	}
}

func (b *bench) connect(t *testing.T, addr string) mapper.Connector {
	t.Helper()
	c, err := b.Driver.New(mapper.Config{
		Properties:        b.properties(t, addr),
		Log:               slog.New(slog.DiscardHandler),
		ClientCertificate: noCertificate,
	})
	if err != nil {
		t.Fatalf("cannot make a connector: %v", err)
	}
	return c
}

func (h Harness) properties(t *testing.T, addr string) json.RawMessage {
	t.Helper()
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(h.Connection(host, port))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func noCertificate() (tls.Certificate, error) {
	return tls.Certificate{}, errors.New("this test has no client certificate")
}

func (b *bench) point(t *testing.T, op mapper.Operation, address string) mapper.Point {
	t.Helper()
	p, err := b.connector.Point(op, json.RawMessage(address))
	if err != nil {
		t.Fatalf("cannot parse %s address %s: %v", op, address, err)
	}
	return p
}

func (b *bench) readPoints(t *testing.T) []mapper.Point {
	t.Helper()
	points := make([]mapper.Point, len(b.Read))
	for i, r := range b.Read {
		points[i] = b.point(t, mapper.OpRead, r.Address)
	}
	return points
}

// dial opens a session that close will close.
func (b *bench) dial(t *testing.T) mapper.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := b.connector.Dial(ctx)
	if err != nil {
		t.Fatalf("cannot dial: %v", err)
	}
	b.sessions = append(b.sessions, s)
	return s
}

// redial dials until it works: a machine that just came back may need some attempts.
func (b *bench) redial(t *testing.T) mapper.Session {
	t.Helper()
	var last error
	var session mapper.Session
	if !eventually(patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), prompt)
		defer cancel()
		session, last = b.connector.Dial(ctx)
		return last == nil
	}) {
		t.Fatalf("cannot dial again: %v", last)
	}
	b.sessions = append(b.sessions, session)
	return session
}

// lose waits until the session ends, using it meanwhile where a lost link shows only then.
func (b *bench) lose(t *testing.T, s mapper.Session) {
	t.Helper()
	var points []mapper.Point
	if b.Silent {
		points = b.readPoints(t)
	}
	if !eventually(patience, func() bool {
		select {
		case <-s.Done():
			return true
		default:
		}
		if b.Silent {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			s.Read(ctx, points)
		}
		return false
	}) {
		t.Fatal("the link was cut, and Done is still open")
	}
	if s.Err() == nil {
		t.Error("the link was cut, and Err says nothing")
	}
}

// checkRead compares results with the harness's values; order gives each result's read point.
func (b *bench) checkRead(t *testing.T, order []int, results []mapper.Result) {
	t.Helper()
	if len(results) != len(order) {
		t.Errorf("%d results for %d points", len(results), len(order))
		return
	}
	for i, at := range order {
		got, want := results[i], b.Read[at].Want
		if got.Err != nil {
			t.Errorf("result %d, %s: %v", i, b.Read[at].Address, got.Err)
			continue
		}
		if got.Time.IsZero() {
			t.Errorf("result %d, %s has no time", i, b.Read[at].Address)
		}
		value := got.Value
		if _, raw := want.([]byte); raw {
			value = got.Raw
		}
		if want != nil && !reflect.DeepEqual(value, want) {
			t.Errorf("result %d, %s = %v (%T), want %v (%T)", i, b.Read[at].Address, value, value, want, want)
		}
	}
}

// checkWorks shows that data flows on the session, in whichever way the protocol has.
func (b *bench) checkWorks(t *testing.T, s mapper.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if len(b.Read) > 0 {
		b.checkRead(t, sequence(len(b.Read)), s.Read(ctx, b.readPoints(t)))
	}
	if b.Pushed != "" {
		got := b.subscribe(t, s, "works")
		b.machine.Set(t, 77)
		got.wait(t, 77)
	}
}

func sequence(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
