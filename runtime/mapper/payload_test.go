package mapper

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

func TestEncodeValue(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	for _, c := range []struct {
		value any
		want  string
	}{
		{nil, `null`},
		{true, `true`},
		{int64(math.MinInt64), `-9223372036854775808`},
		{uint64(math.MaxUint64), `18446744073709551615`},
		{int16(-5), `-5`},
		{uint8(5), `5`},
		{1.5, `1.5`},
		{42.0, `42`},
		{1e300, `1e+300`},
		{float32(0.1), `0.1`},
		{"a\"\\\n\x01é\u2028\xff", "\"a\\\"\\\\\\n\\u0001é\u2028\ufffd\""},
		{[]byte{0, 255}, `"AP8="`},
		{[]any{int64(1), nil, "x"}, `[1,null,"x"]`},
		{[]float64{1, 2}, `[1,2]`},
		{[][]int32{{1}, {2, 3}}, `[[1],[2,3]]`},
		{map[string]any{"b": int64(1), "a": []any{}}, `{"a":[],"b":1}`},
		{map[int]string{1: "x"}, `{"1":"x"}`},
		{json.Number("123456789012345678901234567890"), `123456789012345678901234567890`},
		{json.Number("odd"), `"odd"`},
		{at, `"2023-11-14T22:13:20.123Z"`},
		{math.NaN(), `null,"error":"the value is NaN"`},
		{[]any{1.0, math.Inf(-1)}, `[1,null],"error":"the value is -Inf"`},
		{make(chan int), `null,"error":"the value is json: unsupported type: chan int"`},
	} {
		got := string(encodeValue(at, c.value))
		if want := `{"timestamp":1700000000123,"value":` + c.want + `}`; got != want {
			t.Errorf("%v (%T):\n got %s\nwant %s", c.value, c.value, got, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON", got)
		}
	}
}

func TestEncodeReplies(t *testing.T) {
	at := time.UnixMilli(5)
	check(t, "error", string(encodeError(at, `a "b"`)), `{"timestamp":5,"value":null,"error":"a \"b\""}`)
	check(t, "result", string(encodeResult([]byte(`"x"`), at, []byte(`[1]`))), `{"id":"x","timestamp":5,"result":{"value":[1]}}`)
	check(t, "refusal", string(encodeRefusal(nil, at, "no")), `{"id":null,"timestamp":5,"error":{"message":"no"}}`)
}

// FuzzEncodeString compares with the standard library: what is encoded reads back the same.
func FuzzEncodeString(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x00\x1f\"\\", "é\u2028\U0001f600", "\xff\xc3\x28"} {
		f.Add(seed, 0.1, int64(1))
	}
	f.Fuzz(func(t *testing.T, s string, n float64, i int64) {
		if !utf8.ValidString(s) {
			s = string([]rune(s))
		}
		if math.IsNaN(n) || math.IsInf(n, 0) {
			n = 0
		}
		in := map[string]any{s: []any{s, n, json.Number(encodeJSON(i))}}
		var back map[string]any
		if err := json.Unmarshal(encodeJSON(in), &back); err != nil {
			t.Fatalf("%s: %v", encodeJSON(in), err)
		}
		want := map[string]any{s: []any{s, n, float64(i)}}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%v became %v", want, back)
		}
	})
}

// FuzzParseRequest: whatever arrives is a request or refused, without a panic, and its id is JSON.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{``, `{"id":1,"value":2}`, `{"id":{}}`, `5`, `[`, `{"value":"\ud800"}`, `null`, `"x"`} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, anyBytes bool) {
		for _, op := range []Operation{OpRead, OpWrite} {
			r := parseRequest(payload, op, accepted{bytes: anyBytes, nothing: !anyBytes})
			if reply := encodeRefusal(r.id, time.Now(), "no"); !json.Valid(reply) {
				t.Errorf("%q leads to the reply %s", payload, reply)
			}
		}
	})
}
