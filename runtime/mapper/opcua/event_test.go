package opcua

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

func TestEventPoint(t *testing.T) {
	for _, tc := range []struct {
		op      mapper.Operation
		address string
		want    string // of the error, "" if it is fine
	}{
		{mapper.OpSubscribe, `{"nodeId":"i=2253","eventTypes":["i=2041"]}`, ""},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","attributeId":12}`, "give eventTypes"},
		{mapper.OpSubscribe, `{"browsePath":"/Objects/Server","fields":["Message","2:Batch","ActiveState/Id","ConditionId"]}`, ""},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","eventTypes":["AlarmConditionType","ns=2;s=Fault"],"queueSize":5}`, ""},
		{mapper.OpRead, `{"nodeId":"i=2253","eventTypes":["i=2041"]}`, "only a subscribe"},
		{mapper.OpWrite, `{"nodeId":"i=2253","fields":["Message"]}`, "only a subscribe"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","eventTypes":["AlarmType"]}`, `event type "AlarmType"`},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","eventTypes":["ns=x;i=1"]}`, "event type"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","eventTypes":[""]}`, "event type"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["Message","Message"]}`, "twice"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["2:"]}`, `event field "2:"`},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":[""]}`, "event field"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["Message"],"interval":1000}`, "cannot poll events"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["Message"],"deadband":1}`, "deadband"},
		{mapper.OpSubscribe, `{"nodeId":"i=2253","fields":["Message"],"attributeId":14}`, "attributeId 14"},
	} {
		p, err := parsePoint(tc.op, json.RawMessage(tc.address))
		switch {
		case tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s %s: %v, want %q", tc.op, tc.address, err, tc.want)
		case err == nil && (p.events == nil || p.attribute != ua.AttributeIDEventNotifier || p.queue < 2 || p.Schedule() != mapper.Schedule{}):
			t.Errorf("%s %s gives %+v", tc.op, tc.address, p)
		}
	}
}

// TestEventTypesJoined evaluates the filter for each of its types, and for another.
func TestEventTypesJoined(t *testing.T) {
	for n := 1; n <= 9; n++ {
		var types []*ua.NodeID
		for i := range n {
			types = append(types, ua.NewNumericNodeID(2, uint32(i)))
		}
		elements := anyOf(types)
		var passes func(at, kind uint32) bool
		passes = func(at, kind uint32) bool {
			operands := elements[at].FilterOperands
			if elements[at].FilterOperator == ua.FilterOperatorOfType {
				return operands[0].Value.(*ua.LiteralOperand).Value.NodeID().IntID() == kind
			}
			left, right := operands[0].Value.(*ua.ElementOperand).Index, operands[1].Value.(*ua.ElementOperand).Index
			if left <= at || right <= at {
				t.Fatalf("element %d of %d types refers back", at, n)
			}
			return passes(left, kind) || passes(right, kind)
		}
		for kind := range uint32(n + 1) {
			if got := passes(0, kind); got != (kind < uint32(n)) {
				t.Errorf("of %d types, %d passes: %v", n, kind, got)
			}
		}
	}
	if got := anyOf(nil); len(got) != 0 {
		t.Errorf("no types are %d conditions", len(got))
	}
}

// TestEventResult gives events that do not match what was asked for.
func TestEventResult(t *testing.T) {
	p, err := parsePoint(mapper.OpSubscribe, json.RawMessage(`{"nodeId":"i=2253","fields":["Severity","2:Batch"]}`))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	r, unmapped := p.events.toResult([]variantValue{{value: uint16(700)}, {}, {value: at}})
	if want := map[string]any{"Severity": uint64(700), "2:Batch": nil}; r.Err != nil || unmapped != nil || !r.Time.Equal(at) || !reflect.DeepEqual(r.Value, want) {
		t.Errorf("got %+v, %v", r, unmapped)
	}
	r, unmapped = p.events.toResult([]variantValue{{value: uint16(700)}, {value: &structure{typeID: ua.NewNumericNodeID(2, 7)}}, {}})
	if want := map[string]any{"Severity": uint64(700), "2:Batch": nil}; r.Err != nil || unmapped == nil || r.Time.IsZero() || !reflect.DeepEqual(r.Value, want) {
		t.Errorf("with an unknown structure: %+v, %v", r, unmapped)
	}
	if r, _ := p.events.toResult([]variantValue{{}}); r.Err == nil {
		t.Errorf("an event that is too short gives %+v", r)
	}
}

// testForeignEvents takes the events that the server raises on its Server object ten times a second.
func testForeignEvents(t *testing.T, c mapper.Connector, s mapper.Session) {
	all := subscribe(t, c, s, "all", `{"nodeId":"i=2253","eventTypes":["BaseEventType"],"publishInterval":100}`)
	batches := subscribe(t, c, s, "batches",
		`{"nodeId":"i=2253","eventTypes":["ns=1;i=5001"],"fields":["1:Batch","Message","Severity","ConditionName"],"publishInterval":100}`)
	either := subscribe(t, c, s, "either",
		`{"browsePath":"/Objects/Server","eventTypes":["AlarmConditionType","SystemEventType","ns=1;i=5001"],"fields":["EventType"],"publishInterval":100}`)

	var last int64
	for _, r := range batches.wait(t, 4) {
		event, ok := r.Value.(map[string]any)
		batch, isBatch := event["1:Batch"].(int64)
		if !ok || !isBatch || r.Err != nil {
			t.Fatalf("an event is %v, %v", r.Value, r.Err)
		}
		want := map[string]any{"1:Batch": batch, "Message": fmt.Sprintf("batch %d is done", batch), "Severity": uint64(300), "ConditionName": nil}
		if !reflect.DeepEqual(event, want) || last != 0 && batch != last+1 || time.Since(r.Time).Abs() > time.Hour {
			t.Errorf("%v at %v after %d", event, r.Time, last)
		}
		last = batch
	}
	for _, r := range all.wait(t, 4) {
		event := r.Value.(map[string]any)
		if len(event) != 8 || event["SourceNode"] != "i=2253" || event["Time"] != r.Time.Format(time.RFC3339Nano) {
			t.Errorf("an event is %v at %v", event, r.Time)
		}
	}
	kinds := map[any]bool{}
	for _, r := range either.wait(t, 4) {
		kinds[r.Value.(map[string]any)["EventType"]] = true
	}
	if want := map[any]bool{"ns=1;i=5001": true, "i=2130": true}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("two types joined give %v", kinds)
	}
	if err := s.Unsubscribe(t.Context(), []string{"all", "batches", "either"}); err != nil {
		t.Error(err)
	}
}

// testForeignBadEvents subscribes to bad endpoints among good ones in one call.
func testForeignBadEvents(t *testing.T, c mapper.Connector, s mapper.Session) {
	cases := []struct{ address, want string }{
		{`{"nodeId":"i=2253","fields":["Message"]`, ""},
		{`{"nodeId":"i=2253","fields":["Message","Mesage","2:Batch"]`, `field "Mesage"`},
		{`{"nodeId":"ns=1;s=Line.Counter","fields":["Message"]`, "no source of"},
		{`{"nodeId":"ns=1;s=Line","fields":["Message"]`, "no source of"},
		{`{"nodeId":"ns=1;s=Nonsense","fields":["Message"]`, "BadNodeIdUnknown"},
		{`{"nodeId":"ns=1;s=Line.Counter","samplingInterval":50`, ""},
	}
	var subs []mapper.Subscription
	var boxes []*inbox
	for i, tc := range cases {
		boxes = append(boxes, newInbox())
		subs = append(subs, mapper.Subscription{
			ID: fmt.Sprint("bad ", i), Deliver: boxes[i].deliver,
			Point: pointOf(t, c, mapper.OpSubscribe, tc.address+`,"publishInterval":100}`),
		})
	}
	for i, err := range s.Subscribe(t.Context(), subs) {
		want := cases[i].want
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s}: %v, want %q", cases[i].address, err, want)
		}
	}
	boxes[0].wait(t, 3)
	boxes[5].wait(t, 3)
	if err := s.Unsubscribe(t.Context(), []string{subs[0].ID, subs[5].ID}); err != nil {
		t.Error(err)
	}
}
