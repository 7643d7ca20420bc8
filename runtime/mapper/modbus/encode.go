package modbus

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/millwright/millwright/runtime/mapper"
)

// encode turns a request's value into the entries that p writes: two bytes a register, one
// byte (0 or 1) a coil. A value that does not fit is refused, never rounded or cut.
func (p *point) encode(v mapper.Payload) ([]byte, error) {
	data, err := p.encodeValue(v)
	if err != nil {
		return nil, fmt.Errorf("cannot write to fc %d, address %d: %w", p.fc, p.first, err)
	}
	return data, nil
}

func (p *point) encodeValue(v mapper.Payload) ([]byte, error) {
	switch p.kind {
	case kindRaw:
		return p.encodeRaw(v)
	case kindBase64:
		text, ok := v.Value.(string)
		if !ok {
			return nil, fmt.Errorf("%s is not a base64 string", show(v.Value))
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not base64: %w", text, err)
		}
		return p.unpacked(data)
	}
	return p.encodeEach(v.Value, p.dataType)
}

// encodeEach encodes a value, or as many as the point's length holds.
func (p *point) encodeEach(value any, as dataType) ([]byte, error) {
	want := p.count / as.size()
	values, list := value.([]any)
	if !list {
		values = []any{value}
	}
	if len(values) != want {
		return nil, fmt.Errorf("%d values are given for %d", len(values), want)
	}
	var out []byte
	for _, one := range values {
		b, err := p.encodeOne(one, as)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

func (p *point) encodeOne(value any, as dataType) ([]byte, error) {
	if p.bits() || as.kind == kindBoolean {
		bit, err := toBit(value)
		if err != nil {
			return nil, err
		}
		if p.bits() {
			return []byte{bit}, nil
		}
		return []byte{0, bit}, nil
	}
	b, err := as.encodeNumber(value)
	if err != nil {
		return nil, err
	}
	return as.arrange(b), nil
}

// encodeRaw takes numbers as registers or coils and anything else as bytes.
func (p *point) encodeRaw(v mapper.Payload) ([]byte, error) {
	switch value := v.Value.(type) {
	case json.Number, bool, []any:
		return p.encodeEach(value, dataType{kind: kindUint16, order: orderBE})
	case string:
		return p.unpacked([]byte(value))
	}
	return p.unpacked(v.Raw)
}

// unpacked checks the number of wire bytes and, for coils, takes them apart into bits.
func (p *point) unpacked(data []byte) ([]byte, error) {
	want := 2 * p.count
	if p.bits() {
		want = (p.count + 7) / 8
	}
	if len(data) != want {
		return nil, fmt.Errorf("%d bytes are given for %d", len(data), want)
	}
	if !p.bits() {
		return data, nil
	}
	out := make([]byte, p.count)
	for i := range out {
		out[i] = data[i/8] >> (i % 8) & 1
	}
	return out, nil
}

func toBit(value any) (byte, error) {
	switch v := value.(type) {
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case json.Number:
		if n, err := toInteger(v, 0, 1); err == nil {
			return byte(n), nil
		}
	}
	return 0, fmt.Errorf("%s is not a boolean (true, false, 1 or 0)", show(value))
}

// encodeNumber returns one number's bytes, big-endian.
func (d dataType) encodeNumber(value any) ([]byte, error) {
	n, ok := value.(json.Number)
	if !ok {
		return nil, fmt.Errorf("%s is not a number, as %s needs", show(value), d)
	}
	out, err := d.encodeJSON(n)
	if err != nil {
		return nil, fmt.Errorf("%s does not fit %s: %w", n, d, err)
	}
	return out, nil
}

func (d dataType) encodeJSON(n json.Number) ([]byte, error) {
	switch d.kind {
	case kindFloat:
		f, err := strconv.ParseFloat(n.String(), 32)
		return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f))), plain(err)
	case kindDouble:
		f, err := strconv.ParseFloat(n.String(), 64)
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)), plain(err)
	case kindUint64:
		u, err := toUnsigned(n)
		return binary.BigEndian.AppendUint64(nil, u), err
	}
	bits := 16 * d.size()
	low, high := int64(math.MinInt64)>>(64-bits), int64(math.MaxInt64)>>(64-bits)
	if d.kind == kindUint16 || d.kind == kindUint32 {
		low, high = 0, 1<<bits-1
	}
	i, err := toInteger(n, low, high)
	wide := binary.BigEndian.AppendUint64(nil, uint64(i))
	return wide[8-bits/8:], err
}

// toInteger reads a whole number between low and high. Forms such as 1e3 and 5.0 are whole too.
func toInteger(n json.Number, low, high int64) (int64, error) {
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(n.String(), 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			return 0, fmt.Errorf("whole numbers from %d to %d do", low, high)
		}
		i = int64(f)
	}
	if i < low || i > high {
		return 0, fmt.Errorf("whole numbers from %d to %d do", low, high)
	}
	return i, nil
}

func toUnsigned(n json.Number) (uint64, error) {
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return u, nil
	}
	i, err := toInteger(n, 0, math.MaxInt64)
	if err != nil {
		return 0, fmt.Errorf("whole numbers from 0 to %d do", uint64(math.MaxUint64))
	}
	return uint64(i), nil
}

// plain takes the reason out of a strconv error, whose text repeats the number.
func plain(err error) error {
	if numeric, ok := err.(*strconv.NumError); ok { //nolint:errorlint // strconv returns it bare
		return numeric.Err
	}
	return err
}

// show prints a value as JSON for an error message.
func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil || len(text) > 60 {
		return fmt.Sprintf("a %T", value)
	}
	return string(text)
}
