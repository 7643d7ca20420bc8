package modbus

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/runtime/mapper"
)

// TestDataTypesAreThoseOfTheSpec holds the parser against the enum that files are checked with.
func TestDataTypesAreThoseOfTheSpec(t *testing.T) {
	field, _ := reflect.TypeFor[protocol.ModbusAddress]().FieldByName("DataType")
	names := strings.Split(field.Tag.Get("enum"), ",")
	for _, name := range names {
		if d, ok := parseDataType(name); !ok || d.String() != name {
			t.Errorf("%q is parsed as %v, %v", name, d, ok)
		}
	}
	if want := 3 + len(numbers)*len(orders); len(names) != want {
		t.Errorf("files may name %d data types, the driver knows %d", len(names), want)
	}
	for _, name := range []string{"int32", "int32be", "floatXX", "int8BE", "rawBE", "BE"} {
		if _, ok := parseDataType(name); ok {
			t.Errorf("%q is a data type", name)
		}
	}
}

// TestDefaultsAreThoseOfTheSpec holds the defaults against the struct's tags.
func TestDefaultsAreThoseOfTheSpec(t *testing.T) {
	var tagged protocol.ModbusConnection
	fields := reflect.ValueOf(&tagged).Elem()
	for i := range fields.NumField() {
		text, ok := fields.Type().Field(i).Tag.Lookup("default")
		if !ok {
			continue
		}
		if fields.Field(i).Kind() == reflect.String {
			text = `"` + text + `"`
		}
		if err := json.Unmarshal([]byte(text), fields.Field(i).Addr().Interface()); err != nil {
			t.Fatal(err)
		}
	}
	if got := defaultConnection(); got != tagged {
		t.Errorf("defaults %+v, tags %+v", got, tagged)
	}
}

func TestDecode(t *testing.T) {
	bits := table{1, 1}
	tests := []struct {
		dataType string
		table    table
		data     []byte
		value    any
		raw      []byte
	}{
		{"raw", holding1, []byte{1, 2, 3, 4}, nil, []byte{1, 2, 3, 4}},
		{"", holding1, []byte{1, 2}, nil, []byte{1, 2}},
		{"raw", bits, []byte{1, 0, 1, 0, 0, 0, 0, 0, 1}, nil, []byte{5, 1}},
		{"base64", holding1, []byte{1, 2, 3, 4}, "AQIDBA==", nil},
		{"boolean", holding1, []byte{0, 2}, true, nil},
		{"boolean", holding1, []byte{0, 0, 1, 0}, []any{false, true}, nil},
		{"boolean", bits, []byte{1}, true, nil},
		{"boolean", bits, []byte{1, 0}, []any{true, false}, nil},
		{"int16BE", holding1, []byte{0xff, 0xfe}, int64(-2), nil},
		{"int16LE", holding1, []byte{0xfe, 0xff}, int64(-2), nil},
		{"int16BEWS", holding1, []byte{0xff, 0xfe}, int64(-2), nil},
		{"int16LEWS", holding1, []byte{0xfe, 0xff}, int64(-2), nil},
		{"uint16BE", holding1, []byte{0xff, 0xfe, 0, 1}, []any{uint64(0xfffe), uint64(1)}, nil},
		{"uint32BE", holding1, []byte{0xA, 0xB, 0xC, 0xD}, uint64(0x0A0B0C0D), nil},
		{"uint32LE", holding1, []byte{0xD, 0xC, 0xB, 0xA}, uint64(0x0A0B0C0D), nil},
		{"uint32BEWS", holding1, []byte{0xC, 0xD, 0xA, 0xB}, uint64(0x0A0B0C0D), nil},
		{"uint32LEWS", holding1, []byte{0xB, 0xA, 0xD, 0xC}, uint64(0x0A0B0C0D), nil},
		{"int32BE", holding1, []byte{0xff, 0xff, 0xff, 0xff}, int64(-1), nil},
		{"int64BE", holding1, []byte{0, 0x20, 0, 0, 0, 0, 0, 1}, int64(1<<53 + 1), nil},
		{"uint64BE", holding1, bytes.Repeat([]byte{0xff}, 8), uint64(math.MaxUint64), nil},
		{"uint64LE", holding1, []byte{8, 7, 6, 5, 4, 3, 2, 1}, uint64(0x0102030405060708), nil},
		{"uint64BEWS", holding1, []byte{7, 8, 5, 6, 3, 4, 1, 2}, uint64(0x0102030405060708), nil},
		{"uint64LEWS", holding1, []byte{2, 1, 4, 3, 6, 5, 8, 7}, uint64(0x0102030405060708), nil},
		{"floatBE", holding1, []byte{0x3d, 0xcc, 0xcc, 0xcd}, 0.1, nil},
		{"floatBEWS", holding1, []byte{0xcc, 0xcd, 0x3d, 0xcc}, 0.1, nil},
		{"floatBE", holding1, []byte{0x7f, 0x80, 0, 0}, math.Inf(1), nil},
		{"doubleBE", holding1, []byte{0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a}, 0.1, nil},
	}
	for _, test := range tests {
		d, _ := parseDataType(test.dataType)
		value, raw := d.decode(test.table, test.data)
		if !reflect.DeepEqual(value, test.value) || !bytes.Equal(raw, test.raw) {
			t.Errorf("%s of % x = %v (%T), % x; want %v, % x", test.dataType, test.data, value, value, raw, test.value, test.raw)
		}
	}
	d, _ := parseDataType("floatBE")
	if nan, _ := d.decode(holding1, []byte{0x7f, 0xc0, 0, 0}); !math.IsNaN(nan.(float64)) {
		t.Errorf("a NaN is %v", nan)
	}
}

func TestFloatsPrintShort(t *testing.T) {
	for _, f := range []float32{0.1, 21.7, 1e-40, 3.4028235e38, 16777216, -0.3} {
		wide, err := json.Marshal(widen(f))
		if err != nil {
			t.Fatal(err)
		}
		narrow, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		x, err := json.Number(wide).Float64()
		if err != nil {
			t.Fatal(err)
		}
		y, err := json.Number(narrow).Float64()
		if err != nil {
			t.Fatal(err)
		}
		if x != y || len(wide) > len(narrow)+1 && f < 1e20 && f > 1e-20 {
			t.Errorf("%s is printed as %s", narrow, wide)
		}
	}
}

func writePoint(t *testing.T, address string) *point {
	t.Helper()
	p, err := parsePoint(mapper.OpWrite, []byte(address), defaultConnection())
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return p
}

func payload(t *testing.T, text string) mapper.Payload {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v mapper.Payload
	v.Raw = []byte(text)
	if err := decoder.Decode(&v.Value); err != nil {
		v.Value = nil
	}
	return v
}

func TestEncode(t *testing.T) {
	tests := []struct {
		address string
		value   string
		want    []byte // nil: refused
	}{
		{`{"fc":5,"address":1}`, `true`, []byte{1}},
		{`{"fc":5,"address":1,"dataType":"boolean"}`, `0`, []byte{0}},
		{`{"fc":5,"address":1,"dataType":"boolean"}`, `2`, nil},
		{`{"fc":5,"address":1,"dataType":"boolean"}`, `"on"`, nil},
		{`{"fc":15,"address":1,"length":3,"dataType":"boolean"}`, `[true,false,1]`, []byte{1, 0, 1}},
		{`{"fc":15,"address":1,"length":3,"dataType":"boolean"}`, `[true,false]`, nil},
		{`{"fc":15,"address":1,"length":3,"dataType":"base64"}`, `"BQ=="`, []byte{1, 0, 1}},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `65535`, []byte{0xff, 0xff}},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `65536`, nil},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `-1`, nil},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `1.5`, nil},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `"7"`, nil},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `null`, nil},
		{`{"fc":6,"address":1,"dataType":"uint16BE"}`, `1e3`, []byte{3, 232}},
		{`{"fc":6,"address":1,"dataType":"int16LE"}`, `-2`, []byte{0xfe, 0xff}},
		{`{"fc":6,"address":1,"dataType":"int16BE"}`, `-32769`, nil},
		{`{"fc":6,"address":1,"dataType":"boolean"}`, `true`, []byte{0, 1}},
		{`{"fc":6,"address":1}`, `513`, []byte{2, 1}},
		{`{"fc":6,"address":1}`, `"ab"`, []byte("ab")},
		{`{"fc":6,"address":1}`, `"abc"`, nil},
		{`{"fc":16,"address":1,"dataType":"int32BEWS"}`, `-2`, []byte{0xff, 0xfe, 0xff, 0xff}},
		{`{"fc":16,"address":1,"dataType":"uint32BE"}`, `4294967295`, []byte{0xff, 0xff, 0xff, 0xff}},
		{`{"fc":16,"address":1,"dataType":"uint32BE"}`, `4294967296`, nil},
		{`{"fc":16,"address":1,"dataType":"int64BE"}`, `9007199254740993`, []byte{0, 0x20, 0, 0, 0, 0, 0, 1}},
		{`{"fc":16,"address":1,"dataType":"int64BE"}`, `9007199254740993.0`, nil},
		{`{"fc":16,"address":1,"dataType":"uint64BE"}`, `18446744073709551615`, bytes.Repeat([]byte{0xff}, 8)},
		{`{"fc":16,"address":1,"dataType":"uint64BE"}`, `18446744073709551616`, nil},
		{`{"fc":16,"address":1,"dataType":"floatBE"}`, `0.1`, []byte{0x3d, 0xcc, 0xcc, 0xcd}},
		{`{"fc":16,"address":1,"dataType":"floatBE"}`, `1e39`, nil},
		{`{"fc":16,"address":1,"dataType":"floatBE"}`, `true`, nil},
		{`{"fc":16,"address":1,"length":4,"dataType":"floatBE"}`, `[1,2]`, []byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0}},
		{`{"fc":16,"address":1,"length":2}`, `[1,2]`, []byte{0, 1, 0, 2}},
		{`{"fc":16,"address":1,"length":2}`, `{"a":1}`, nil},
		{`{"fc":16,"address":1,"length":2,"dataType":"base64"}`, `"AQIDBA=="`, []byte{1, 2, 3, 4}},
		{`{"fc":16,"address":1,"length":2,"dataType":"base64"}`, `"AQI="`, nil},
		{`{"fc":16,"address":1,"length":2,"dataType":"base64"}`, `"*"`, nil},
		{`{"fc":16,"address":1,"length":2,"dataType":"base64"}`, `7`, nil},
		{`{"fc":16,"address":1,"length":2,"dataType":"raw"}`, "\x01\x02\x03\x04", []byte{1, 2, 3, 4}},
	}
	for _, test := range tests {
		got, err := writePoint(t, test.address).encode(payload(t, test.value))
		if (err != nil) != (test.want == nil) || !bytes.Equal(got, test.want) {
			t.Errorf("%s to %s: % x, %v; want % x", test.value, test.address, got, err, test.want)
		}
	}
}

// FuzzRoundTrip decodes random registers as every number and encodes the value back: the bytes
// must be the same, but for the many forms of NaN.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{0, 0x20, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{0x7f, 0xc0, 0, 0, 0x80, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, k := range numbers {
			for _, o := range orders {
				d := dataType{kind: k, order: o}
				if len(data) < 2*d.size() {
					continue
				}
				wire := data[:2*d.size()]
				value, _ := d.decode(holding1, wire)
				if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
					continue
				}
				text, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				back, err := d.encodeNumber(json.Number(text))
				if err != nil {
					t.Fatalf("%s %s: %v", d, text, err)
				}
				if got := d.arrange(back); !bytes.Equal(got, wire) {
					t.Errorf("%s: % x became %s and % x", d, wire, text, got)
				}
			}
		}
	})
}

// FuzzEncode shows that no request makes encode panic or give the wrong number of entries.
func FuzzEncode(f *testing.F) {
	f.Add(`{"fc":16,"address":1,"dataType":"floatBE"}`, `[1,2]`)
	f.Add(`{"fc":15,"address":1,"length":9}`, `"ab"`)
	f.Fuzz(func(t *testing.T, address, value string) {
		p, err := parsePoint(mapper.OpWrite, []byte(address), defaultConnection())
		if err != nil {
			return
		}
		if data, err := p.encode(payload(t, value)); err == nil && len(data) != p.count*p.width() {
			t.Errorf("%d bytes for %d entries", len(data), p.count)
		}
	})
}
