package rules

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
)

// parse turns bytes into a value: those of the payload where it is the chain's first rule,
// else those that the message so far would be published as.
type parse struct {
	format string
	read   func([]byte) (any, error)
}

func compileParse(rule commissioning.ParseRule) (step, error) {
	read := parser(rule.Format)
	if read == nil {
		return nil, fmt.Errorf("parse: there is no format %q", rule.Format)
	}
	return &parse{format: rule.Format, read: read}, nil
}

func (p *parse) run(_ *Chain, m *message) (bool, error) {
	b := m.encode()
	v, err := p.read(b)
	if err != nil {
		return false, fmt.Errorf("cannot parse %d bytes as %s: %w", len(b), p.format, err)
	}
	if p.format == "json" && m.intact {
		m.value, m.decoded = v, true // and the payload still says the same
		return true, nil
	}
	m.replace(v)
	return true, nil
}

// parser returns the reader of a format, nil if there is none.
func parser(format string) func([]byte) (any, error) {
	switch format {
	case "json":
		return expr.Decode
	case "utf8":
		return parseUTF8
	case "latin1":
		return parseLatin1
	case "ascii":
		return parseASCII
	case "boolean":
		return parseBoolean
	case "toBase64":
		return func(b []byte) (any, error) { return base64.StdEncoding.EncodeToString(b), nil }
	case "fromBase64":
		return parseBase64
	}
	return numberParser(format)
}

func numberParser(format string) func([]byte) (any, error) {
	name, order := format, binary.ByteOrder(binary.BigEndian)
	if n, ok := strings.CutSuffix(format, "BE"); ok {
		name = n
	} else if n, ok := strings.CutSuffix(format, "LE"); ok {
		name, order = n, binary.LittleEndian
	}
	ordered := name != format
	switch {
	case name == "int8" && !ordered:
		return fixed(1, func(b []byte) any { return signed(int64(int8(b[0]))) })
	case name == "uint8" && !ordered:
		return fixed(1, func(b []byte) any { return unsigned(uint64(b[0])) })
	case !ordered:
		return nil
	}
	switch name {
	case "int16":
		return fixed(2, func(b []byte) any { return signed(int64(int16(order.Uint16(b)))) })
	case "uint16":
		return fixed(2, func(b []byte) any { return unsigned(uint64(order.Uint16(b))) })
	case "int32":
		return fixed(4, func(b []byte) any { return signed(int64(int32(order.Uint32(b)))) })
	case "uint32":
		return fixed(4, func(b []byte) any { return unsigned(uint64(order.Uint32(b))) })
	case "int64":
		return fixed(8, func(b []byte) any { return signed(int64(order.Uint64(b))) })
	case "uint64":
		return fixed(8, func(b []byte) any { return unsigned(order.Uint64(b)) })
	case "float":
		return fixed(4, func(b []byte) any { return float64(math.Float32frombits(order.Uint32(b))) })
	case "double":
		return fixed(8, func(b []byte) any { return math.Float64frombits(order.Uint64(b)) })
	}
	return nil
}

func signed(n int64) any    { return json.Number(strconv.FormatInt(n, 10)) }
func unsigned(n uint64) any { return json.Number(strconv.FormatUint(n, 10)) }

// fixed reads a number of size bytes at the payload's beginning; what follows is not read.
func fixed(size int, read func([]byte) any) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		if len(b) < size {
			return nil, fmt.Errorf("too few, it takes %d", size)
		}
		return read(b), nil
	}
}

func parseUTF8(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("the bytes are not UTF-8")
	}
	return string(b), nil
}

func parseLatin1(b []byte) (any, error) {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes), nil
}

func parseASCII(b []byte) (any, error) {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return nil, fmt.Errorf("byte %d is 0x%02x", i, c)
		}
	}
	return string(b), nil
}

// parseBoolean reads the texts true, false, 1 and 0, and numbers of 1, 2, 4 or 8 bytes, which
// are true unless all their bits are 0.
func parseBoolean(b []byte) (any, error) {
	switch strings.ToLower(string(bytes.TrimSpace(b))) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	switch len(b) {
	case 1, 2, 4, 8:
		return len(bytes.Trim(b, "\x00")) > 0, nil
	}
	return nil, errors.New("neither true, false, 1, 0 nor a number of 1, 2, 4 or 8 bytes")
}

// parseBase64 reads the standard and the URL alphabet, with padding or without.
func parseBase64(b []byte) (any, error) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(string(bytes.TrimSpace(b)))
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, errors.New("the text is not base64")
	}
	return decoded, nil
}
