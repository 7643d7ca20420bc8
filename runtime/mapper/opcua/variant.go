package opcua

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"
)

// toVariant turns a JSON value into one of the type: exact, or an error that says what does
// not fit.
func toVariant(value any, t valueType) (*ua.Variant, error) {
	list, isList := value.([]any)
	switch {
	case isList && !t.array && !t.any:
		return nil, fmt.Errorf("cannot write a list: one value of the type %s is expected", typeName(t.kind))
	case !isList && t.array:
		return nil, fmt.Errorf("cannot write %s: a list of %s is expected", describe(value), typeName(t.kind))
	}
	kind := t.kind
	if kind == ua.TypeIDVariant || kind == ua.TypeIDNull {
		kind = likeliest(value)
	}
	var converted any
	var err error
	if isList {
		converted, err = toSlice(list, kind)
	} else {
		converted, err = toScalar(value, kind)
	}
	if err != nil {
		return nil, err
	}
	variant, err := ua.NewVariant(converted)
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", describe(value), err)
	}
	return variant, nil
}

// likeliest is the type for a node that takes any.
func likeliest(value any) ua.TypeID {
	switch v := value.(type) {
	case bool:
		return ua.TypeIDBoolean
	case json.Number:
		if _, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return ua.TypeIDInt64
		}
		if _, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return ua.TypeIDUint64
		}
		return ua.TypeIDDouble
	case []any:
		if len(v) > 0 {
			return likeliest(v[0])
		}
	}
	return ua.TypeIDString
}

// toSlice makes a typed slice, nested as deep as the list is.
func toSlice(list []any, kind ua.TypeID) (any, error) {
	if len(list) > 0 {
		if _, nested := list[0].([]any); nested {
			return toNested(list, kind)
		}
	}
	sample, ok := zeroes[kind]
	if !ok {
		return nil, fmt.Errorf("cannot write a list of %s: that type is not supported", typeName(kind))
	}
	if kind == ua.TypeIDByte {
		return toBytes(list)
	}
	slice := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(sample)), len(list), len(list))
	for i, element := range list {
		converted, err := toScalar(element, kind)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		slice.Index(i).Set(reflect.ValueOf(converted))
	}
	return slice.Interface(), nil
}

func toNested(list []any, kind ua.TypeID) (any, error) {
	var slice reflect.Value
	for i, element := range list {
		inner, ok := element.([]any)
		if !ok {
			return nil, fmt.Errorf("element %d: a list is expected, like its neighbours", i)
		}
		converted, err := toSlice(inner, kind)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		row := reflect.ValueOf(converted)
		switch {
		case i == 0:
			slice = reflect.MakeSlice(reflect.SliceOf(row.Type()), 0, len(list))
		case row.Type() != slice.Type().Elem() || row.Len() != slice.Index(0).Len():
			return nil, fmt.Errorf("element %d: it is not as long or as deep as its neighbours", i)
		}
		slice = reflect.Append(slice, row)
	}
	return slice.Interface(), nil
}

func toBytes(list []any) (any, error) {
	bytes := make(ua.ByteArray, len(list))
	for i, element := range list {
		b, err := toUnsigned(element, ua.TypeIDByte, 8)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		bytes[i] = byte(b)
	}
	return bytes, nil
}

// zeroes are the types that can be written.
var zeroes = map[ua.TypeID]any{
	ua.TypeIDBoolean: false, ua.TypeIDSByte: int8(0), ua.TypeIDByte: byte(0), ua.TypeIDInt16: int16(0), ua.TypeIDUint16: uint16(0),
	ua.TypeIDInt32: int32(0), ua.TypeIDUint32: uint32(0), ua.TypeIDInt64: int64(0), ua.TypeIDUint64: uint64(0),
	ua.TypeIDFloat: float32(0), ua.TypeIDDouble: float64(0), ua.TypeIDString: "", ua.TypeIDDateTime: time.Time{},
	ua.TypeIDGUID: (*ua.GUID)(nil), ua.TypeIDByteString: []byte(nil), ua.TypeIDXMLElement: ua.XMLElement(""),
	ua.TypeIDNodeID: (*ua.NodeID)(nil), ua.TypeIDStatusCode: ua.StatusCode(0),
	ua.TypeIDQualifiedName: (*ua.QualifiedName)(nil), ua.TypeIDLocalizedText: (*ua.LocalizedText)(nil),
}

// toScalar converts one value.
func toScalar(value any, kind ua.TypeID) (any, error) {
	switch kind {
	case ua.TypeIDBoolean:
		if b, ok := value.(bool); ok {
			return b, nil
		}
		return nil, mismatch(value, kind)
	case ua.TypeIDSByte, ua.TypeIDInt16, ua.TypeIDInt32, ua.TypeIDInt64:
		return toSigned(value, kind)
	case ua.TypeIDByte:
		n, err := toUnsigned(value, kind, 8)
		return byte(n), err
	case ua.TypeIDUint16:
		n, err := toUnsigned(value, kind, 16)
		return uint16(n), err
	case ua.TypeIDUint32:
		n, err := toUnsigned(value, kind, 32)
		return uint32(n), err
	case ua.TypeIDUint64:
		return toUnsigned(value, kind, 64)
	case ua.TypeIDFloat, ua.TypeIDDouble:
		return toFloat(value, kind)
	case ua.TypeIDStatusCode:
		n, err := toUnsigned(value, kind, 32)
		return ua.StatusCode(n), err
	}
	text, ok := value.(string)
	if !ok {
		return nil, mismatch(value, kind)
	}
	return fromText(text, kind)
}

func toSigned(value any, kind ua.TypeID) (any, error) {
	bits := map[ua.TypeID]int{ua.TypeIDSByte: 8, ua.TypeIDInt16: 16, ua.TypeIDInt32: 32, ua.TypeIDInt64: 64}[kind]
	digits, err := integerDigits(value, kind)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(digits, 10, bits)
	if err != nil {
		return nil, outOfRange(value, kind)
	}
	switch kind {
	case ua.TypeIDSByte:
		return int8(n), nil
	case ua.TypeIDInt16:
		return int16(n), nil
	case ua.TypeIDInt32:
		return int32(n), nil
	}
	return n, nil
}

func toUnsigned(value any, kind ua.TypeID, bits int) (uint64, error) {
	digits, err := integerDigits(value, kind)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		return 0, outOfRange(value, kind)
	}
	return n, nil
}

// integerDigits takes 5, 5.0 and 5e0 for five; never through a float, for large ones are exact.
func integerDigits(value any, kind ua.TypeID) (string, error) {
	number, ok := value.(json.Number)
	if !ok {
		return "", mismatch(value, kind)
	}
	text := number.String()
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			text = "0"
		}
		return text, nil
	}
	f, err := number.Float64()
	if err != nil || f != math.Trunc(f) {
		return "", fmt.Errorf("cannot write %s: a whole number of the type %s is expected", text, typeName(kind))
	}
	if math.Abs(f) >= 1<<53 {
		if whole, fraction, _ := strings.Cut(text, "."); !strings.ContainsAny(text, "eE") && strings.Trim(fraction, "0") == "" {
			return whole, nil
		}
		return "", fmt.Errorf("cannot write %s exactly: write the %s without point and exponent", text, typeName(kind))
	}
	return strconv.FormatInt(int64(f), 10), nil
}

func toFloat(value any, kind ua.TypeID) (any, error) {
	number, ok := value.(json.Number)
	if !ok {
		return nil, mismatch(value, kind)
	}
	bits := 64
	if kind == ua.TypeIDFloat {
		bits = 32
	}
	f, err := strconv.ParseFloat(number.String(), bits)
	if err != nil {
		return nil, outOfRange(value, kind)
	}
	if kind == ua.TypeIDFloat {
		return float32(f), nil
	}
	return f, nil
}

// guid is checked here: the library makes zeroes of what it cannot parse.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func fromText(text string, kind ua.TypeID) (any, error) {
	switch kind {
	case ua.TypeIDString:
		return text, nil
	case ua.TypeIDXMLElement:
		return ua.XMLElement(text), nil
	case ua.TypeIDLocalizedText:
		return ua.NewLocalizedText(text), nil
	case ua.TypeIDQualifiedName:
		return qualifiedName(text), nil
	case ua.TypeIDDateTime:
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("cannot write %q: a time as in 2026-11-22T20:00:00Z is expected", text)
		}
		return at, nil
	case ua.TypeIDByteString:
		bytes, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("cannot write %q: base64 is expected", text)
		}
		return bytes, nil
	case ua.TypeIDNodeID:
		node, err := ua.ParseNodeID(text)
		if err != nil {
			return nil, fmt.Errorf("cannot write %q: a node id as in ns=2;s=Press is expected", text)
		}
		return node, nil
	case ua.TypeIDGUID:
		if !guid.MatchString(text) {
			return nil, fmt.Errorf("cannot write %q: a GUID is expected", text)
		}
		return ua.NewGUID(text), nil
	}
	return nil, fmt.Errorf("cannot write %s: that type is not supported", typeName(kind))
}

func mismatch(value any, kind ua.TypeID) error {
	return fmt.Errorf("cannot write %s: %s is expected", describe(value), typeName(kind))
}

func outOfRange(value any, kind ua.TypeID) error {
	return fmt.Errorf("cannot write %s: it does not fit into %s", describe(value), typeName(kind))
}

// describe prints a JSON value, shortened.
func describe(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("a %T", value)
	}
	if len(text) > 60 {
		return string(text[:57]) + "..."
	}
	return string(text)
}

// typeName is a built-in type as the standard names it.
func typeName(kind ua.TypeID) string {
	name := strings.TrimPrefix(kind.String(), "TypeID")
	return strings.NewReplacer("Uint", "UInt", "GUID", "Guid", "NodeID", "NodeId", "XML", "Xml").Replace(name)
}
