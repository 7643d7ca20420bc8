// Package mappertest is the conformance suite of mapper drivers. A protocol is done when its
// driver passes Run against a server in process: order, one bad point among good ones,
// cancelled and refused dials, lost, slow, hanging and lying machines, and no goroutine left.
package mappertest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/millwright/millwright/runtime/mapper"
)

// Harness tells the suite about one protocol. Addresses are the JSON of the object below an
// endpoint's subscribe, read or write.
type Harness struct {
	Driver mapper.Driver
	// Start runs a machine that listens on addr ("127.0.0.1:0": any free port; else the
	// address of a machine that was closed before, which must be bound again, if need be
	// after some attempts). The suite calls Close.
	Start func(t testing.TB, addr string) Machine
	// Connection returns the properties of a connection to host:port. Time-outs in it should be
	// the protocol's defaults: the suite shows that nothing waits for them.
	Connection func(host string, port int) map[string]any

	// Read are readable points, in an order that the driver should not find convenient
	// (three or more, with different values). Empty: the protocol has no read.
	Read []ReadPoint
	// Bad parses but is refused by the machine, when it is read (or, without Read, pushed).
	// Empty: the protocol has no such thing.
	Bad string
	// Invalid is an address that Connector.Point must refuse for subscribe.
	Invalid string
	// Polled is a subscribe address whose Schedule must not be zero. Empty: there is none.
	Polled string
	// Pushed is a subscribe address with the zero Schedule, whose value Machine.Set changes.
	// Empty: the protocol has no push.
	Pushed string
	// Write is a write address that takes small integers. Empty: the protocol has no write.
	Write string
	// Raw makes the payload of a write from the integer; nil: its decimal digits.
	Raw func(n int64) []byte
	// Int takes the integer out of a pushed Result. Nil: Value as a number, else Raw as decimal digits.
	Int func(mapper.Result) (int64, error)
	// Liars are servers that accept connections and then break the protocol in its own way
	// (wrong lengths, foreign transaction ids, truncated frames). Each returns the address
	// it listens on and ends with the test. No call to a driver may panic, hang or succeed with a value.
	Liars map[string]func(t testing.TB) (addr string)
	// Silent is true where a lost link shows only when something is sent (no keep-alive).
	Silent bool
	// Ignore reports goroutines that belong to the Machine's own library and outlive its Close.
	Ignore func(stack string) bool
}

// ReadPoint is a readable address and the value that the machine gives (nil: any). Want is compared
// with Result.Value, or with Result.Raw if it is a []byte, by reflect.DeepEqual.
type ReadPoint struct {
	Address string
	Want    any
}

// Machine is a running server.
type Machine interface {
	Addr() string // host:port
	// Set gives the point of Harness.Pushed (and none else) the value n. Never called without Pushed.
	Set(t testing.TB, n int64)
	// Written returns the last value that the point of Harness.Write was given and whether there was one.
	// Never called without Write.
	Written(t testing.TB) (int64, bool)
	// Close cuts all connections and frees the address.
	Close()
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if reason := c.skip(h); reason != "" {
				t.Skip(reason)
			}
			before := goroutines()
			func() {
				b := &bench{Harness: h}
				defer b.close()
				b.machine = h.Start(t, "127.0.0.1:0")
				b.proxy = NewProxy(t, b.machine.Addr())
				b.connector = b.connect(t, b.proxy.Addr())
				c.run(t, b)
			}()
			checkLeaks(t, h, before)
		})
	}
	for name, start := range h.Liars {
		t.Run("Liar/"+name, func(t *testing.T) { testLiar(t, h, start) })
	}
}

func (h Harness) payload(n int64) mapper.Payload {
	raw := []byte(strconv.FormatInt(n, 10))
	if h.Raw != nil {
		raw = h.Raw(n)
	}
	return mapper.Payload{Value: json.Number(strconv.FormatInt(n, 10)), Raw: raw}
}

func (h Harness) integer(r mapper.Result) (int64, error) {
	if h.Int != nil {
		return h.Int(r)
	}
	if r.Err != nil {
		return 0, r.Err
	}
	if r.Raw != nil {
		return strconv.ParseInt(string(r.Raw), 10, 64)
	}
	switch v := r.Value.(type) {
	case int64:
		return v, nil
	case uint64:
		return int64(v), nil
	case float64:
		return int64(v), nil
	}
	return 0, fmt.Errorf("a %T is no number", r.Value)
}
