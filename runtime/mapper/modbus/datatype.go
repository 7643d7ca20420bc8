package modbus

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
)

// kind is what a data type holds, whatever its byte order.
type kind string

const (
	kindRaw     kind = "raw"
	kindBase64  kind = "base64"
	kindBoolean kind = "boolean"
	kindInt16   kind = "int16"
	kindUint16  kind = "uint16"
	kindInt32   kind = "int32"
	kindUint32  kind = "uint32"
	kindInt64   kind = "int64"
	kindUint64  kind = "uint64"
	kindFloat   kind = "float"
	kindDouble  kind = "double"
)

// numbers lists the kinds that have byte orders.
var numbers = [...]kind{
	kindInt16, kindUint16, kindInt32, kindUint32, kindInt64, kindUint64, kindFloat, kindDouble,
}

// order is how the bytes of a number lie in its registers.
type order string

const (
	orderBE   order = "BE"   // ABCD
	orderLE   order = "LE"   // DCBA
	orderBEWS order = "BEWS" // CDAB
	orderLEWS order = "LEWS" // BADC
)

var orders = [...]order{orderBE, orderLE, orderBEWS, orderLEWS}

// dataType is a kind with its byte order (none for raw, base64 and boolean).
type dataType struct {
	kind  kind
	order order
}

func (d dataType) String() string { return string(d.kind) + string(d.order) }

// parseDataType reads a name such as "int32BEWS"; the empty name is raw.
func parseDataType(name string) (dataType, bool) {
	switch kind(name) {
	case "", kindRaw:
		return dataType{kind: kindRaw}, true
	case kindBase64, kindBoolean:
		return dataType{kind: kind(name)}, true
	}
	for _, k := range numbers {
		if suffix, ok := strings.CutPrefix(name, string(k)); ok && slices.Contains(orders[:], order(suffix)) {
			return dataType{kind: k, order: order(suffix)}, true
		}
	}
	return dataType{}, false
}

// size is how many registers one value takes.
func (d dataType) size() int {
	switch d.kind {
	case kindInt32, kindUint32, kindFloat:
		return 2
	case kindInt64, kindUint64, kindDouble:
		return 4
	}
	return 1
}

// number reports whether values are numbers.
func (d dataType) number() bool { return d.order != "" }

// arrange turns the bytes of one value from the wire's order to big-endian or back; both are
// the same step.
func (d dataType) arrange(b []byte) []byte {
	out := slices.Clone(b)
	switch d.order {
	case orderLE:
		slices.Reverse(out)
	case orderBEWS:
		for i := 0; i < len(b); i += 2 {
			copy(out[i:], b[len(b)-2-i:len(b)-i])
		}
	case orderLEWS:
		for i := 0; i < len(b); i += 2 {
			out[i], out[i+1] = b[i+1], b[i]
		}
	}
	return out
}

// decodeNumber reads one value: int64, uint64 or float64.
func (d dataType) decodeNumber(wire []byte) any {
	b := d.arrange(wire)
	switch d.kind {
	case kindInt16:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case kindUint16:
		return uint64(binary.BigEndian.Uint16(b))
	case kindInt32:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case kindUint32:
		return uint64(binary.BigEndian.Uint32(b))
	case kindInt64:
		return int64(binary.BigEndian.Uint64(b))
	case kindUint64:
		return binary.BigEndian.Uint64(b)
	case kindFloat:
		return widen(math.Float32frombits(binary.BigEndian.Uint32(b)))
	default:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
}

// widen returns the float64 whose shortest decimal is that of f, so that 0.1 stays 0.1 and
// does not become 0.10000000149011612.
func widen(f float32) float64 {
	wide, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f) // not reached: what FormatFloat writes, ParseFloat reads
	}
	return wide
}

// decode reads what a span of the table holds: a value, an array of them where the span is longer
// than one value, or raw bytes.
func (d dataType) decode(t table, data []byte) (value any, raw []byte) {
	switch d.kind {
	case kindRaw:
		return nil, packed(t, data)
	case kindBase64:
		return base64.StdEncoding.EncodeToString(packed(t, data)), nil
	}
	step := t.width() * d.size()
	values := make([]any, 0, len(data)/step)
	for one := range slices.Chunk(data, step) {
		values = append(values, d.decodeOne(one))
	}
	if len(values) == 1 {
		return values[0], nil
	}
	return values, nil
}

func (d dataType) decodeOne(b []byte) any {
	if d.kind == kindBoolean {
		return slices.ContainsFunc(b, func(v byte) bool { return v != 0 })
	}
	return d.decodeNumber(b)
}

// packed returns the bytes as they were on the wire: eight bits to a byte, the first lowest.
func packed(t table, data []byte) []byte {
	if !t.bits() {
		return slices.Clone(data)
	}
	out := make([]byte, (len(data)+7)/8)
	for i, bit := range data {
		out[i/8] |= bit << (i % 8)
	}
	return out
}
