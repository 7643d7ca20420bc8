package mapper

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// replies returns what came on a topic, without timestamps.
func (r *rig) replies(topic string) []string {
	var all []string
	for _, payload := range r.bus.on(topic) {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(payload), &m); err != nil {
			r.t.Fatalf("%s: %v", payload, err)
		}
		if m["timestamp"] == nil {
			r.t.Errorf("%s has no timestamp", payload)
		}
		delete(m, "timestamp")
		text, err := json.Marshal(m)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func TestRead(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.values["temp"] = Result{Value: int64(9007199254740993)} })
		r.watch.set(plc(), reader("temp"), reader("bad"), reader("ruled", `"rules":[{"transform":{"expression":"{\"value\": $string(value) & \"!\"}"}}]`))
		r.machine.do(func() {
			r.machine.bad["bad"] = errors.New("illegal address")
			r.machine.values["ruled"] = Result{Value: int64(4)}
		})
		pass(time.Second)
		for _, q := range []string{`{"id":7}`, ``, `5`, `{"id":"x"`} {
			r.bus.send(t, "services/press/temp/req", q)
		}
		r.bus.send(t, "services/press/bad/req", `{"id":[1]}`)
		r.bus.send(t, "services/press/ruled/req", `{"id":8}`)
		pass(time.Second)
		check(t, "replies", strings.Join(r.replies("services/press/temp/res"), "\n"), strings.Join([]string{
			`{"id":7,"result":{"value":9007199254740993}}`,
			`{"id":null,"result":{"value":9007199254740993}}`,
			`{"id":null,"result":{"value":9007199254740993}}`,
			`{"error":{"message":"cannot read the request: it is no JSON"},"id":null}`,
		}, "\n"))
		check(t, "a failed read", r.replies("services/press/bad/res"), []string{`{"error":{"message":"illegal address"},"id":[1]}`})
		check(t, "through rules", r.replies("services/press/ruled/res"), []string{`{"id":8,"result":{"value":"4!"}}`})
		check(t, "status", line(r.of("bad").OnTarget, r.of("bad").Errors, r.of("bad").LastError), "true 1 illegal address")
	})
}

func TestWrite(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		bytesPoint := point("any", "write", `,"bytes":true`, nil)
		r.watch.set(plc(), writer("out"), bytesPoint, writer("ruled", `"rules":[{"transform":{"expression":"$ + 1"}},{"filter":{"expression":"$ < 10"}}]`))
		pass(time.Second)
		for _, q := range []string{
			`{"id":1,"value":18446744073709551615}`, `42`, `{"a":1}`, `{"timestamp":5,"value":"x"}`,
			`{"id":2}`, `no`, `{"id":3,"value":"text"}`, `null`,
		} {
			r.bus.send(t, "services/press/out/set", q)
		}
		r.bus.send(t, "services/press/any/set", "\xff\x00")
		r.bus.send(t, "services/press/any/set", `{"timestamp":5,"value":"x"}`)
		for _, q := range []string{`{"id":1,"value":4}`, `{"id":2,"value":40}`, `{"id":3,"value":"x"}`} {
			r.bus.send(t, "services/press/ruled/set", q)
		}
		pass(time.Second)
		check(t, "writes", sorted(r.machine.writes), sorted([]string{
			`out=18446744073709551615|18446744073709551615`, `out=42|42`, `out=map[a:1]|{"a":1}`,
			`out=x|{"timestamp":5,"value":"x"}`, `out=text|text`, `out=<nil>|null`,
			"any=<nil>|\xff\x00", `any=x|{"timestamp":5,"value":"x"}`, `ruled=5|5`,
		}))
		check(t, "replies", strings.Join(r.replies("services/press/out/res"), "\n"), strings.Join([]string{
			`{"id":1,"result":{"value":18446744073709551615}}`,
			`{"id":null,"result":{"value":42}}`,
			`{"id":null,"result":{"value":{"a":1}}}`,
			`{"id":null,"result":{"value":"x"}}`,
			`{"error":{"message":"cannot write: the request has an id and no value"},"id":2}`,
			`{"error":{"message":"cannot read the request: it is no JSON"},"id":null}`,
			`{"id":3,"result":{"value":"text"}}`,
			`{"id":null,"result":{"value":null}}`,
		}, "\n"))
		ruled := r.replies("services/press/ruled/res")
		check(t, "ruled replies", ruled[:2], []string{
			`{"id":1,"result":{"value":5}}`, `{"error":{"message":"the endpoint's rules dropped the message"},"id":2}`,
		})
		if len(ruled) != 3 || !strings.Contains(ruled[2], "rule 1 (transform) failed") {
			t.Errorf("reply to what a rule cannot use: %v", ruled)
		}
	})
}

func TestRequestsWithoutConnection(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.machine.do(func() { r.machine.refuse = errors.New("connection refused") })
		r.watch.set(plc(), reader("temp"), writer("out"))
		pass(500 * time.Millisecond)
		r.bus.send(t, "services/press/temp/req", `{"id":1}`)
		r.bus.send(t, "services/press/out/set", `{"id":2,"value":1}`)
		pass(0)
		message := `{"error":{"message":"connection \"plc\" is connectFailed: connection refused"},"id":`
		check(t, "read", r.replies("services/press/temp/res"), []string{message + `1}`})
		check(t, "write", r.replies("services/press/out/res"), []string{message + `2}`})
	})
}

func TestReadOnly(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.stop()
		r.opts.ReadOnly = true
		r.run()
		r.watch.set(plc(), reader("temp"), writer("out"))
		pass(time.Second)
		r.bus.send(t, "services/press/temp/req", `{"id":1}`)
		r.bus.send(t, "services/press/out/set", `{"id":2,"value":1}`)
		pass(time.Second)
		check(t, "read", r.replies("services/press/temp/res"), []string{`{"id":1,"result":{"value":null}}`})
		check(t, "write", r.replies("services/press/out/res"), []string{
			`{"error":{"message":"cannot write: this gateway is read-only: it writes to no machine"},"id":2}`,
		})
		check(t, "writes", len(r.machine.writes), 0)
		check(t, "status", line(r.of("out").Errors, r.of("out").OnTarget), "1 true")
	})
}

// TestRetainedWrite: it would be repeated at every start.
func TestRetainedWrite(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), writer("out"))
		pass(time.Second)
		if err := r.bus.Publish(t.Context(), "user:test", Message{Topic: "services/press/out/set", Payload: []byte("1"), Retain: true}); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		check(t, "writes", len(r.machine.writes), 0)
	})
}

// TestRequestFlood: a machine that hangs holds up its own endpoint's requests only, and each gets an answer.
func TestRequestFlood(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), reader("slow"), reader("other"))
		pass(time.Second)
		r.machine.do(func() { r.machine.delay = time.Minute / 2 })
		for range requestsWaiting + 20 {
			r.bus.send(t, "services/press/slow/req", `{"id":1}`)
		}
		pass(time.Second)
		r.machine.do(func() { r.machine.delay = 0 })
		r.bus.send(t, "services/press/other/req", `{"id":2}`)
		pass(time.Second)
		check(t, "the other endpoint", r.replies("services/press/other/res"), []string{`{"id":2,"result":{"value":null}}`})
		pass(2 * time.Minute)
		check(t, "replies", len(r.replies("services/press/slow/res")), requestsWaiting+20)
		if refused := r.of("slow").Errors; refused == 0 || refused > 20 {
			t.Errorf("%d requests were refused", refused)
		}
	})
}

// TestCallWithoutArguments: an id alone calls a method.
func TestCallWithoutArguments(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), point("reset", "write", `,"calls":true`, nil))
		pass(time.Second)
		r.bus.send(t, "services/press/reset/set", `{"id":1}`)
		pass(time.Second)
		check(t, "calls", r.machine.writes, []string{"reset=<nil>|null"})
		check(t, "replies", r.replies("services/press/reset/res"), []string{`{"id":1,"result":{"value":null}}`})
	})
}

// TestMisplacedRequest: a request that an endpoint cannot serve is refused, unless another one serves it.
func TestMisplacedRequest(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		both := `"topic":"services/press/both"`
		r.watch.set(plc(), reader("temp"), writer("out"), reader("a", both), writer("b", both))
		pass(time.Second)
		r.bus.send(t, "services/press/temp/set", `{"id":1,"value":5}`)
		r.bus.send(t, "services/press/out/req", `{"id":2}`)
		r.bus.send(t, "services/press/both/req", `{"id":3}`)
		r.bus.send(t, "services/press/both/set", `{"id":4,"value":6}`)
		pass(time.Second)
		check(t, "write to a read endpoint", r.replies("services/press/temp/res"), []string{
			`{"error":{"message":"cannot take a request on \"services/press/temp/set\": this is a read endpoint, its requests come on \"services/press/temp/req\""},"id":1}`,
		})
		check(t, "read of a write endpoint", r.replies("services/press/out/res"), []string{
			`{"error":{"message":"cannot take a request on \"services/press/out/req\": this is a write endpoint, its requests come on \"services/press/out/set\""},"id":2}`,
		})
		check(t, "two on one topic", sorted(r.replies("services/press/both/res")), `{"id":3,"result":{"value":null}}, {"id":4,"result":{"value":6}}`)
		check(t, "writes", r.machine.writes, []string{"b=6|6"})
	})
}

// TestStopWithWaitingRequests: a machine that hangs does not hold up a stop, and every request has its answer.
func TestStopWithWaitingRequests(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), reader("temp"))
		pass(time.Second)
		hang := make(chan struct{})
		defer close(hang)
		r.machine.do(func() { r.machine.hang = hang })
		for range 50 {
			r.bus.send(t, "services/press/temp/req", `{"id":1}`)
		}
		pass(0)
		r.watch.set(gone(reader("temp")))
		pass(stopTimeout + grace + replyTime)
		check(t, "resources", len(r.Status()), 1)
		check(t, "replies", len(r.replies("services/press/temp/res")), 50)
	})
}
