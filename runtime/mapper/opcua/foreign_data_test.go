package opcua

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/runtime/mapper"
)

func testForeignTypes(t *testing.T, c mapper.Connector, s mapper.Session) {
	cases := []struct {
		name string
		want any
		err  string
	}{
		{name: "Boolean", want: true},
		{name: "SByte", want: int64(-128)},
		{name: "Byte", want: uint64(255)},
		{name: "Int16", want: int64(-32768)},
		{name: "UInt16", want: uint64(65535)},
		{name: "Int32", want: int64(-2147483648)},
		{name: "UInt32", want: uint64(4294967295)},
		{name: "Int64", want: int64(-9007199254740993)},
		{name: "UInt64", want: uint64(18446744073709551615)},
		{name: "Float", want: 0.1},
		{name: "Double", want: 1e-7},
		{name: "String", want: "Füllstand"},
		{name: "DateTime", want: "2026-11-22T20:00:00.25Z"},
		{name: "Guid", want: "72962B91-FA75-4AE6-8D28-B404DC7DAF63"},
		{name: "ByteString", want: "AQL/"},
		{name: "NodeId", want: "ns=1;s=Line"},
		{name: "LocalizedText", want: "closed"},
		{name: "QualifiedName", want: "1:Press"},
		{name: "StatusCode", want: "BadNotConnected"},
		{name: "Doubles", want: []any{1.5, -2.0, 3.0}},
		{name: "Matrix", want: []any{[]any{int64(1), int64(2), int64(3)}, []any{int64(4), int64(5), int64(6)}}},
		{name: "Bad", err: "BadSensorFailure"},
		{name: "Nonsense", err: "BadNodeIdUnknown"},
	}
	points := make([]mapper.Point, len(cases))
	for i, tc := range cases {
		points[i] = pointOf(t, c, mapper.OpRead, fmt.Sprintf(`{"nodeId":"ns=1;s=Line.%s"}`, tc.name))
	}
	for i, r := range s.Read(t.Context(), points) {
		tc := cases[i]
		switch {
		case tc.err != "":
			if r.Err == nil || r.Err.Error() != tc.err {
				t.Errorf("%s: %v, want the error %s", tc.name, r.Err, tc.err)
			}
		case r.Err != nil || !reflect.DeepEqual(r.Value, tc.want):
			t.Errorf("%s = %v (%T), %v, want %v (%T)", tc.name, r.Value, r.Value, r.Err, tc.want, tc.want)
		}
	}
}

// testForeignLimits reads, translates and subscribes more than the server's 10 at once.
func testForeignLimits(t *testing.T, c mapper.Connector, s mapper.Session) {
	var points []mapper.Point
	var subs []mapper.Subscription
	var boxes []*inbox
	for i := range 35 {
		points = append(points, pointOf(t, c, mapper.OpRead, fmt.Sprintf(`{"browsePath":"/Objects/1:Line/1:Many/1:Many.%d","publishInterval":100}`, i)))
		boxes = append(boxes, newInbox())
		subs = append(subs, mapper.Subscription{
			ID: fmt.Sprint(i), Point: points[i], Deliver: boxes[i].deliver,
		})
	}
	for i, r := range s.Read(t.Context(), points) {
		if r.Err != nil || r.Value != int64(i) {
			t.Errorf("Many.%d = %v, %v", i, r.Value, r.Err)
		}
	}
	for i, err := range s.Subscribe(t.Context(), subs) {
		if err != nil {
			t.Fatal(err)
		}
		if r := boxes[i].wait(t, 1)[0]; r.Value != int64(i) {
			t.Errorf("Many.%d first gives %v, %v", i, r.Value, r.Err)
		}
	}
	var ids []string
	for _, sub := range subs {
		ids = append(ids, sub.ID)
	}
	if err := s.Unsubscribe(t.Context(), ids); err != nil {
		t.Error(err)
	}
}

func testForeignSubscribe(t *testing.T, c mapper.Connector, s mapper.Session) {
	in := subscribe(t, c, s, "counter", `{"nodeId":"ns=1;s=Line.Counter","publishInterval":100,"samplingInterval":50}`)
	var last int64
	for i, r := range in.wait(t, 5) {
		n, ok := r.Value.(int64)
		if !ok || i > 0 && n <= last {
			t.Errorf("value %d is %v after %d, %v", i, r.Value, last, r.Err)
		}
		last = n
	}
	bad := subscribe(t, c, s, "bad", `{"nodeId":"ns=1;s=Line.Bad","publishInterval":100}`)
	if r := bad.wait(t, 1)[0]; r.Err == nil || r.Err.Error() != "BadSensorFailure" {
		t.Errorf("a bad value is delivered as %v, %v", r.Value, r.Err)
	}
	err := s.Subscribe(t.Context(), []mapper.Subscription{{
		ID: "deadband", Deliver: newInbox().deliver,
		Point: pointOf(t, c, mapper.OpSubscribe, `{"nodeId":"ns=1;s=Line.String","deadband":1}`),
	}})[0]
	if err == nil || !strings.Contains(err.Error(), "deadband") {
		t.Errorf("a deadband on a text: %v", err)
	}
}

func testForeignWrite(t *testing.T, c mapper.Connector, s mapper.Session) {
	for _, tc := range []struct {
		name, value string
		want        any
		err         string
	}{
		{name: "Setpoint", value: `12.5`, want: 12.5},
		{name: "Setpoint", value: `7`, want: 7.0},
		{name: "Preset", value: `9007199254740993`, want: int64(9007199254740993)},
		{name: "Preset", value: `9223372036854775808`, err: "does not fit into Int64"},
		{name: "Recipe", value: `"steel"`, want: "steel"},
		{name: "Recipe", value: `5`, err: "String is expected"},
		{name: "Small", value: `256`, err: "does not fit into Byte"},
		{name: "Small", value: `255.0`, want: uint64(255)},
		{name: "Limits", value: `[-5,5]`, want: []any{int64(-5), int64(5)}},
		{name: "Limits", value: `5`, err: "a list of Int32 is expected"},
		{name: "Float", value: `5`, err: "BadNotWritable"},
		{name: "Nonsense", value: `5`, err: "BadNodeIdUnknown"},
	} {
		address := fmt.Sprintf(`{"nodeId":"ns=1;s=Line.%s"}`, tc.name)
		r := s.Write(t.Context(), pointOf(t, c, mapper.OpWrite, address), payload(t, tc.value))
		if tc.err != "" {
			if r.Err == nil || !strings.Contains(r.Err.Error(), tc.err) {
				t.Errorf("writing %s to %s: %v, want %q", tc.value, tc.name, r.Err, tc.err)
			}
			continue
		}
		back := s.Read(t.Context(), []mapper.Point{pointOf(t, c, mapper.OpRead, address)})[0]
		if r.Err != nil || !reflect.DeepEqual(back.Value, tc.want) || !reflect.DeepEqual(r.Value, tc.want) {
			t.Errorf("wrote %s to %s: %v, %v; read back %v, %v", tc.value, tc.name, r.Value, r.Err, back.Value, back.Err)
		}
	}
}

func payload(t testing.TB, text string) mapper.Payload {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return mapper.Payload{Value: v, Raw: []byte(text)}
}

func testForeignMethod(t *testing.T, c mapper.Connector, s mapper.Session) {
	add := pointOf(t, c, mapper.OpWrite, `{"nodeId":"ns=1;s=Line.Add","nodeType":"Method"}`)
	for _, arguments := range []string{`[40, 2]`, `{"b": 2, "a": 40}`} {
		if r := s.Write(t.Context(), add, payload(t, arguments)); r.Err != nil || r.Value != int64(42) {
			t.Errorf("Add(%s) = %v, %v", arguments, r.Value, r.Err)
		}
	}
	for _, arguments := range []string{`[40]`, `{"c": 1, "a": 2}`, `["x", 2]`, `null`} {
		if r := s.Write(t.Context(), add, payload(t, arguments)); r.Err == nil {
			t.Errorf("Add(%s) = %v, want an error", arguments, r.Value)
		}
	}
}
