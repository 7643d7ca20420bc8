package rules

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/millwright/millwright/internal/expr"
)

// message is a message on its way through a chain. It is decoded when the first rule asks for
// its value, and encoded again only if a rule changed it.
type message struct {
	topic, label string
	vars         map[string]any // $context.vars; replaced, never changed
	payload      []byte         // as it arrived; encode returns it while intact
	value        any            // of package expr, when decoded
	foreign      bool           // value came from Go code and is not imported yet
	decoded      bool
	intact       bool // payload says the same as value
	context      any  // $context, made when first asked for
}

func newMessage(in Message) *message {
	m := &message{topic: in.Topic, label: in.Label}
	if m.label == "" {
		m.label = in.Topic
	}
	if in.HasValue {
		m.value, m.foreign = in.Value, true
	} else {
		m.payload, m.intact = in.Payload, true
	}
	if len(in.Vars) > 0 {
		m.vars = make(map[string]any, len(in.Vars))
		for name, v := range in.Vars {
			m.vars[name] = v
		}
	}
	return m
}

// decode makes value what the spec says that a chain receives: JSON where all of the payload
// is, else text where it is UTF-8, else bytes.
func (m *message) decode() (err error) {
	if m.decoded {
		return nil
	}
	switch {
	case m.foreign:
		m.value, err = expr.Import(m.value)
	default:
		m.value, err = decodePayload(m.payload)
	}
	if err != nil {
		return err
	}
	m.decoded, m.foreign = true, false
	return nil
}

func decodePayload(payload []byte) (any, error) {
	v, err := expr.Decode(payload)
	switch {
	case err == nil || !errors.Is(err, expr.ErrNotJSON):
		return v, err
	case utf8.Valid(payload):
		return string(payload), nil
	}
	return bytes.Clone(payload), nil
}

// replace makes v the message.
func (m *message) replace(v any) {
	m.value, m.decoded, m.foreign, m.intact, m.payload = v, true, false, false, nil
}

// setVars replaces $context.vars.
func (m *message) setVars(vars map[string]any) { m.vars, m.context = vars, nil }

// encode returns what is published. A payload that no rule changed is returned as it came,
// but for a JSON string, whose quotes no chain emits.
func (m *message) encode() []byte {
	if _, isText := m.value.(string); m.intact && !isText {
		return m.payload
	}
	switch v := m.value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return encodeJSON(m.value)
}

// encodeJSON writes a value as JSON. A {"timestamp", "value"} object with a number that JSON
// does not know gets an "error" that names it, since a null alone would be a value.
func encodeJSON(v any) []byte {
	value, hasValue := expr.Get(v, "value")
	if hasValue {
		f, found := expr.NonFinite(value)
		_, hasTime := expr.Get(v, "timestamp")
		_, hasError := expr.Get(v, "error")
		if found && hasTime && !hasError {
			b := expr.Append(nil, v)
			return appendError(b[:len(b)-1], f)
		}
	}
	return expr.Append(make([]byte, 0, 64), v)
}

// appendError ends an object that is open.
func appendError(b []byte, f float64) []byte {
	return append(b, `,"error":"the value is `+strconv.FormatFloat(f, 'g', -1, 64)+`"}`...)
}
