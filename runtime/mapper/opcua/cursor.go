package opcua

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gopcua/opcua/ua"
)

// cursor reads OPC UA's binary encoding. The first error stays, and everything after it is zero.
// The library's decoder believes the lengths and the nesting that a server claims, up to the end of
// the process; messages that carry values are therefore decoded here.
type cursor struct {
	b     []byte
	at    int
	depth int
	err   error
}

// deepest is how far values, structures and diagnostics may be nested (Part 6, 5.2.2.5 asks for 100).
const deepest = 100

var errShort = errors.New("the message ends too soon")

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// take returns the next n bytes, or nil.
func (c *cursor) take(n int) []byte {
	if c.err == nil && (n < 0 || n > len(c.b)-c.at) {
		c.fail(errShort)
	}
	if c.err != nil {
		return nil
	}
	c.at += n
	return c.b[c.at-n : c.at]
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) f32() float32 { return math.Float32frombits(c.u32()) }
func (c *cursor) f64() float64 { return math.Float64frombits(c.u64()) }

// bytes are nil where the server says so, and empty where they are empty.
func (c *cursor) bytes() []byte {
	n := int32(c.u32())
	if c.err != nil || n < 0 {
		return nil
	}
	return c.take(int(n))
}

func (c *cursor) text() string { return string(c.bytes()) }

// count reads an array's length, which its elements of so many bytes each must have room for. A null array
// is -1.
func (c *cursor) count(smallest int) int {
	n := int(int32(c.u32()))
	if c.err == nil && n > (len(c.b)-c.at)/smallest {
		c.fail(errShort)
	}
	if c.err != nil {
		return -1
	}
	return max(n, -1)
}

// The standard counts 100 ns since 1601; the first and the last of its times stand for none.
const (
	ticksBefore1970 = 116444736000000000
	ticksAfter9999  = 2650467744000000000
	ticksPerSecond  = 10_000_000
)

func (c *cursor) time() time.Time {
	ticks := int64(c.u64())
	if ticks <= 0 || ticks >= ticksAfter9999-ticksPerSecond {
		return time.Time{}
	}
	since := ticks - ticksBefore1970
	return time.Unix(since/ticksPerSecond, since%ticksPerSecond*100).UTC()
}

// decode uses the library for a type of its own that neither nests nor has arrays.
func (c *cursor) decode(into ua.BinaryDecoder) {
	if c.err != nil {
		return
	}
	n, err := into.Decode(c.b[c.at:])
	if err != nil {
		c.fail(err)
		return
	}
	c.take(n)
}

// nest guards a recursion: leave must be called in any case.
func (c *cursor) nest() (leave func()) {
	if c.depth++; c.depth > deepest {
		c.fail(fmt.Errorf("it is nested more than %d times", deepest))
	}
	return func() { c.depth-- }
}

func (c *cursor) nodeID() *ua.NodeID {
	id := &ua.NodeID{}
	c.decode(id)
	return id
}

func (c *cursor) qualifiedName() *ua.QualifiedName {
	return &ua.QualifiedName{NamespaceIndex: c.u16(), Name: c.text()}
}

func (c *cursor) localizedText() *ua.LocalizedText {
	t := &ua.LocalizedText{EncodingMask: c.u8()}
	if t.EncodingMask&ua.LocalizedTextLocale != 0 {
		t.Locale = c.text()
	}
	if t.EncodingMask&ua.LocalizedTextText != 0 {
		t.Text = c.text()
	}
	return t
}

// skipDiagnostics reads over diagnostic information.
func (c *cursor) skipDiagnostics() {
	defer c.nest()()
	mask := c.u8()
	for bit := byte(1); bit <= 8; bit <<= 1 { // four indexes into the string table
		if mask&bit != 0 {
			c.u32()
		}
	}
	if mask&0x10 != 0 {
		c.text()
	}
	if mask&0x20 != 0 {
		c.u32()
	}
	if mask&0x40 != 0 && c.err == nil {
		c.skipDiagnostics()
	}
}

// responseHeader reads what every response starts with.
func (c *cursor) responseHeader() *ua.ResponseHeader {
	h := &ua.ResponseHeader{Timestamp: c.time(), RequestHandle: c.u32(), ServiceResult: ua.StatusCode(c.u32())}
	c.skipDiagnostics()
	for range c.count(4) {
		c.text()
	}
	c.nodeID()
	if mask := c.u8(); mask != ua.ExtensionObjectEmpty {
		c.bytes()
	}
	return h
}

// end returns the first error, as one of decoding.
func (c *cursor) end() error {
	if c.err != nil {
		return fmt.Errorf("%w: %w", errDecode, c.err)
	}
	return nil
}
