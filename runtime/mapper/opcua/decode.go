package opcua

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// header makes a response of a struct.
type header struct{ response *ua.ResponseHeader }

func (h *header) Header() *ua.ResponseHeader     { return h.response }
func (h *header) SetHeader(r *ua.ResponseHeader) { h.response = r }

type readResponse struct {
	header
	results []dataValue
}

type callResponse struct {
	header
	results []callResult
}

type callResult struct {
	status    ua.StatusCode
	arguments []ua.StatusCode
	outputs   []variantValue
}

// dataValue is a value with its quality and times.
type dataValue struct {
	value  variantValue
	status ua.StatusCode
	source time.Time
	server time.Time
}

// variantValue is a value of a built-in type: a scalar, or []any with as many levels as it has
// dimensions. Scalars are as the library has them, structures are *structure.
type variantValue struct {
	kind  ua.TypeID
	array bool
	value any
}

// structure is an extension object; value is nil if its type is unknown.
type structure struct {
	typeID *ua.NodeID
	empty  bool
	value  any
}

// ofLibrary is the longest message that the library decodes: its recursion has no other bound.
const ofLibrary = 4 << 20

// decodeService is the reverse of encodeService. What a server sends may be anything.
func decodeService(body []byte) (response ua.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDecode, p)
		}
	}()
	c := &cursor{b: body}
	kind := c.nodeID()
	h := c.responseHeader()
	if c.err != nil {
		return nil, c.end()
	}
	if kind.Namespace() == 0 {
		switch kind.IntID() {
		case id.ReadResponse_Encoding_DefaultBinary:
			return c.readResponse(h)
		case id.PublishResponse_Encoding_DefaultBinary:
			return c.publishResponse(h)
		case id.CallResponse_Encoding_DefaultBinary:
			return c.callResponse(h)
		}
	}
	if len(body) > ofLibrary {
		return nil, fmt.Errorf("%w: it has more than %d bytes", errDecode, ofLibrary)
	}
	_, decoded, err := ua.DecodeService(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDecode, err)
	}
	response, ok := decoded.(ua.Response)
	if !ok || response.Header() == nil {
		return nil, fmt.Errorf("%w: it is a %T", errDecode, decoded)
	}
	return response, nil
}

func (c *cursor) readResponse(h *ua.ResponseHeader) (ua.Response, error) {
	r := &readResponse{header: header{h}}
	for range c.count(1) {
		r.results = append(r.results, c.dataValue())
	}
	return r, c.end()
}

func (c *cursor) callResponse(h *ua.ResponseHeader) (ua.Response, error) {
	r := &callResponse{header: header{h}}
	for range c.count(16) {
		result := callResult{status: ua.StatusCode(c.u32())}
		for range c.count(4) {
			result.arguments = append(result.arguments, ua.StatusCode(c.u32()))
		}
		for range c.count(1) {
			c.skipDiagnostics()
		}
		for range c.count(1) {
			result.outputs = append(result.outputs, c.variant())
		}
		r.results = append(r.results, result)
	}
	return r, c.end()
}

func (c *cursor) dataValue() dataValue {
	defer c.nest()()
	var v dataValue
	mask := c.u8()
	if mask&ua.DataValueValue != 0 {
		v.value = c.variant()
	}
	if mask&ua.DataValueStatusCode != 0 {
		v.status = ua.StatusCode(c.u32())
	}
	if mask&ua.DataValueSourceTimestamp != 0 {
		v.source = c.time()
	}
	if mask&ua.DataValueSourcePicoseconds != 0 {
		c.u16()
	}
	if mask&ua.DataValueServerTimestamp != 0 {
		v.server = c.time()
	}
	if mask&ua.DataValueServerPicoseconds != 0 {
		c.u16()
	}
	return v
}

func (c *cursor) variant() variantValue {
	defer c.nest()()
	mask := c.u8()
	v := variantValue{kind: ua.TypeID(mask & 0x3f), array: mask&ua.VariantArrayValues != 0}
	switch {
	case c.err != nil || v.kind == ua.TypeIDNull:
	case v.array:
		c.array(&v, mask&ua.VariantArrayDimensions != 0)
	default:
		v.value = c.scalar(v.kind)
	}
	return v
}

func (c *cursor) array(v *variantValue, hasDimensions bool) {
	n := c.count(1)
	var list []any
	if n >= 0 {
		list = make([]any, 0, min(n, 1<<16))
	}
	for range n {
		if c.err != nil {
			return
		}
		list = append(list, c.scalar(v.kind))
	}
	if list != nil {
		v.value = list
	}
	if !hasDimensions {
		return
	}
	var dimensions []int
	for range c.count(4) {
		dimensions = append(dimensions, int(int32(c.u32())))
	}
	if c.err == nil && len(dimensions) > 1 {
		v.value = c.fold(list, dimensions)
	}
}

// fold gives a flat list its dimensions.
func (c *cursor) fold(list []any, dimensions []int) any {
	total := 1
	for _, d := range dimensions {
		if d < 0 || d > 0 && total > len(list)/d {
			c.fail(errors.New("an array's dimensions do not match its length"))
			return nil
		}
		total *= d
	}
	if total != len(list) {
		c.fail(errors.New("an array's dimensions do not match its length"))
		return nil
	}
	for i := len(dimensions) - 1; i > 0 && total > 0; i-- {
		var rows []any
		for at := 0; at < len(list); at += dimensions[i] {
			rows = append(rows, list[at:at+dimensions[i]:at+dimensions[i]])
		}
		list = rows
	}
	return list
}

func (c *cursor) scalar(kind ua.TypeID) any {
	switch kind {
	case ua.TypeIDBoolean:
		return c.u8() != 0
	case ua.TypeIDSByte:
		return int8(c.u8())
	case ua.TypeIDByte:
		return c.u8()
	case ua.TypeIDInt16:
		return int16(c.u16())
	case ua.TypeIDUint16:
		return c.u16()
	case ua.TypeIDInt32:
		return int32(c.u32())
	case ua.TypeIDUint32:
		return c.u32()
	case ua.TypeIDInt64:
		return int64(c.u64())
	case ua.TypeIDUint64:
		return c.u64()
	case ua.TypeIDFloat:
		return c.f32()
	case ua.TypeIDDouble:
		return c.f64()
	case ua.TypeIDString, ua.TypeIDXMLElement:
		return c.text()
	case ua.TypeIDDateTime:
		return c.time()
	case ua.TypeIDByteString:
		return c.bytes()
	}
	return c.compound(kind)
}

func (c *cursor) compound(kind ua.TypeID) any {
	switch kind {
	case ua.TypeIDGUID:
		guid := &ua.GUID{}
		c.decode(guid)
		return guid
	case ua.TypeIDNodeID:
		return c.nodeID()
	case ua.TypeIDExpandedNodeID:
		expanded := &ua.ExpandedNodeID{}
		c.decode(expanded)
		return expanded
	case ua.TypeIDStatusCode:
		return ua.StatusCode(c.u32())
	case ua.TypeIDQualifiedName:
		return c.qualifiedName()
	case ua.TypeIDLocalizedText:
		return c.localizedText()
	case ua.TypeIDExtensionObject:
		return c.structure()
	case ua.TypeIDDataValue:
		return c.dataValue()
	case ua.TypeIDVariant:
		return c.variant()
	case ua.TypeIDDiagnosticInfo:
		c.skipDiagnostics()
		return nil
	}
	c.fail(fmt.Errorf("there is no built-in type %d", kind))
	return nil
}

// structure decodes those of the standard's structures that are plain: no values of any type inside.
func (c *cursor) structure() *structure {
	start := c.at
	s := &structure{typeID: c.nodeID()}
	mask := c.u8()
	if s.empty = mask == ua.ExtensionObjectEmpty; s.empty {
		return s
	}
	c.bytes()
	if c.err != nil || mask != ua.ExtensionObjectBinary {
		return s
	}
	s.value = decodeStructure(c.b[start:c.at])
	return s
}

// decodeStructure returns nil for what it does not know. The library makes a value of the right
// type even from an object that is cut short; only if that type is plain is the whole decoded.
func decodeStructure(object []byte) any {
	head := &cursor{b: object}
	head.nodeID()
	head.u8()
	prefix := object[:head.at:head.at]
	sample := &ua.ExtensionObject{}
	if _, err := sample.Decode(append(prefix, 1, 0, 0, 0, 0)); err != nil && sample.Value == nil {
		return nil
	}
	if sample.Value == nil || !plain(reflect.TypeOf(sample.Value), 0) {
		return nil
	}
	whole := &ua.ExtensionObject{}
	if _, err := whole.Decode(object); err != nil {
		return nil
	}
	return whole.Value
}

// plain tells whether a type holds no variants and nests no deeper than a handful of structs.
func plain(t reflect.Type, depth int) bool {
	switch t {
	case reflect.TypeFor[*ua.Variant](), reflect.TypeFor[*ua.DataValue](),
		reflect.TypeFor[*ua.ExtensionObject](), reflect.TypeFor[*ua.DiagnosticInfo]():
		return false
	case reflect.TypeFor[*ua.NodeID](), reflect.TypeFor[*ua.ExpandedNodeID](), reflect.TypeFor[time.Time](),
		reflect.TypeFor[*ua.GUID](), reflect.TypeFor[*ua.LocalizedText]():
		return true
	}
	if depth > 8 {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return plain(t.Elem(), depth+1)
	case reflect.Struct:
		for i := range t.NumField() {
			if !plain(t.Field(i).Type, depth+1) {
				return false
			}
		}
		return true
	case reflect.Interface, reflect.Map, reflect.Chan, reflect.Func:
		return false
	}
	return true
}
