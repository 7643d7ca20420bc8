package mapper

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// encoder appends JSON. Integers keep all their digits; NaN and infinities become null and
// are noted, bytes become base64.
type encoder struct {
	buf   []byte
	notes string // what JSON cannot hold: "NaN", "+Inf", ...
}

// encodeValue returns {"timestamp","value"}, with "error" beside a value that JSON cannot hold.
func encodeValue(at time.Time, value any) []byte {
	e := encoder{buf: make([]byte, 0, 64)}
	e.head(at)
	e.value(value)
	if e.notes != "" {
		e.raw(`,"error":`)
		e.string("the value is " + e.notes)
	}
	e.raw("}")
	return e.buf
}

// encodeError returns {"timestamp","value":null,"error"}.
func encodeError(at time.Time, text string) []byte {
	e := encoder{buf: make([]byte, 0, 64+len(text))}
	e.head(at)
	e.raw(`null,"error":`)
	e.string(text)
	e.raw("}")
	return e.buf
}

// encodeResult returns a reply; id and value are JSON.
func encodeResult(id json.RawMessage, at time.Time, value []byte) []byte {
	e := encoder{buf: make([]byte, 0, 96+len(value))}
	e.reply(id, at)
	e.raw(`"result":{"value":`)
	e.buf = append(e.buf, value...)
	e.raw("}}")
	return e.buf
}

// encodeRefusal returns an error reply; id is JSON.
func encodeRefusal(id json.RawMessage, at time.Time, text string) []byte {
	e := encoder{buf: make([]byte, 0, 96+len(text))}
	e.reply(id, at)
	e.raw(`"error":{"message":`)
	e.string(text)
	e.raw("}}")
	return e.buf
}

// encodeJSON returns the value alone.
func encodeJSON(value any) []byte {
	var e encoder
	e.value(value)
	return e.buf
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) head(at time.Time) {
	e.raw(`{"timestamp":`)
	e.buf = strconv.AppendInt(e.buf, at.UnixMilli(), 10)
	e.raw(`,"value":`)
}

func (e *encoder) reply(id json.RawMessage, at time.Time) {
	e.raw(`{"id":`)
	if len(id) == 0 {
		id = json.RawMessage("null")
	}
	e.buf = append(e.buf, id...)
	e.raw(`,"timestamp":`)
	e.buf = strconv.AppendInt(e.buf, at.UnixMilli(), 10)
	e.raw(",")
}

func (e *encoder) value(v any) {
	switch v := v.(type) {
	case nil:
		e.raw("null")
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case uint64:
		e.buf = strconv.AppendUint(e.buf, v, 10)
	case float64:
		e.float(v, 64)
	case float32:
		e.float(float64(v), 32)
	case string:
		e.string(v)
	case []any:
		e.list(v)
	case map[string]any:
		e.object(v)
	case []byte:
		e.bytes(v)
	case json.Number:
		e.number(v)
	case time.Time:
		e.string(v.UTC().Format(time.RFC3339Nano))
	default:
		e.reflected(reflect.ValueOf(v))
	}
}

// reflected appends the types that drivers rarely give: small integers, typed slices and maps.
func (e *encoder) reflected(v reflect.Value) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.buf = strconv.AppendInt(e.buf, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		e.buf = strconv.AppendUint(e.buf, v.Uint(), 10)
	case reflect.Bool:
		e.buf = strconv.AppendBool(e.buf, v.Bool())
	case reflect.Float32, reflect.Float64:
		e.float(v.Float(), v.Type().Bits())
	case reflect.String:
		e.string(v.String())
	case reflect.Slice, reflect.Array:
		e.raw("[")
		for i := range v.Len() {
			if i > 0 {
				e.raw(",")
			}
			e.value(v.Index(i).Interface())
		}
		e.raw("]")
	default:
		e.marshalled(v.Interface())
	}
}

func (e *encoder) marshalled(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		e.raw("null")
		e.notes = err.Error()
		return
	}
	e.buf = append(e.buf, data...)
}

func (e *encoder) list(list []any) {
	e.raw("[")
	for i, v := range list {
		if i > 0 {
			e.raw(",")
		}
		e.value(v)
	}
	e.raw("]")
}

func (e *encoder) object(m map[string]any) {
	e.raw("{")
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			e.raw(",")
		}
		e.string(k)
		e.raw(":")
		e.value(m[k])
	}
	e.raw("}")
}

func (e *encoder) bytes(b []byte) {
	e.raw(`"`)
	e.buf = base64.StdEncoding.AppendEncode(e.buf, b)
	e.raw(`"`)
}

// number appends a number's own text, if it is one.
func (e *encoder) number(n json.Number) {
	if !json.Valid([]byte(n)) {
		e.string(string(n))
		return
	}
	e.raw(string(n))
}

// float appends the shortest text that reads back the same.
func (e *encoder) float(f float64, bits int) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.raw("null")
		e.notes = strconv.FormatFloat(f, 'g', -1, 64)
		return
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	e.buf = strconv.AppendFloat(e.buf, f, format, -1, bits)
}

const hexDigits = "0123456789abcdef"

// string appends a JSON string; bytes that are no UTF-8 become U+FFFD.
func (e *encoder) string(s string) {
	e.raw(`"`)
	from := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				e.raw(s[from:i])
				e.escape(c)
				from = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			e.raw(s[from:i])
			e.raw("\ufffd")
			from = i + size
		}
		i += size
	}
	e.raw(s[from:])
	e.raw(`"`)
}

func (e *encoder) escape(c byte) {
	switch c {
	case '"', '\\':
		e.buf = append(e.buf, '\\', c)
	case '\n':
		e.raw(`\n`)
	case '\r':
		e.raw(`\r`)
	case '\t':
		e.raw(`\t`)
	default:
		e.buf = append(e.buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}
