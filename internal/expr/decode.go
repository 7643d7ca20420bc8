package expr

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrNotJSON is the error of Decode for what is not one whole JSON value.
var ErrNotJSON = errors.New("cannot read the message as JSON")

// Decode reads a payload all of which is one JSON value. Numbers keep all their digits and
// objects the order of their keys; of a key that is given twice the last value counts. What is
// JSON but beyond MaxDepth, MaxNodes or MaxBytes is another error than ErrNotJSON.
func Decode(payload []byte) (any, error) {
	if !json.Valid(payload) {
		return nil, ErrNotJSON
	}
	d := decoder{text: string(payload), null: gnataOf().null}
	return d.value(0)
}

// decoder reads a text that is known to be valid JSON.
type decoder struct {
	text string
	at   int
	null any
	walk walk
}

// next returns the first byte that is no white space, without passing it.
func (d *decoder) next() byte {
	for {
		switch b := d.text[d.at]; b {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return b
		}
	}
}

func (d *decoder) value(depth int) (any, error) {
	first := d.next()
	start := d.at
	switch first {
	case '{':
		return d.object(depth)
	case '[':
		return d.list(depth)
	case '"':
		s := d.string()
		return s, d.walk.count(depth, len(s))
	case 't':
		d.at += len("true")
		return true, d.walk.count(depth, 0)
	case 'f':
		d.at += len("false")
		return false, d.walk.count(depth, 0)
	case 'n':
		d.at += len("null")
		return d.null, d.walk.count(depth, 0)
	}
	for d.at < len(d.text) && strings.IndexByte("+-.0123456789Ee", d.text[d.at]) >= 0 {
		d.at++
	}
	return json.Number(d.text[start:d.at]), d.walk.count(depth, d.at-start)
}

func (d *decoder) object(depth int) (any, error) {
	if err := d.walk.count(depth, 0); err != nil {
		return nil, err
	}
	m := newObject()
	d.at++ // the brace
	if d.next() == '}' {
		d.at++
		return m, nil
	}
	for {
		d.next()
		key := d.string()
		d.walk.bytes += len(key)
		d.next()
		d.at++ // the colon
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		m.Set(key, v)
		end := d.next()
		d.at++ // the comma or brace
		if end == '}' {
			return m, nil
		}
	}
}

func (d *decoder) list(depth int) (any, error) {
	if err := d.walk.count(depth, 0); err != nil {
		return nil, err
	}
	list := []any{}
	d.at++ // the bracket
	if d.next() == ']' {
		d.at++
		return list, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		end := d.next()
		d.at++ // the comma or bracket
		if end == ']' {
			return list, nil
		}
	}
}

// string reads a string; one with escapes or bytes that are not UTF-8 is left to encoding/json.
func (d *decoder) string() string {
	start := d.at
	d.at++ // the quote
	plain := true
	for ; d.text[d.at] != '"'; d.at++ {
		if d.text[d.at] == '\\' {
			plain = false
			d.at++
		}
	}
	d.at++
	quoted := d.text[start:d.at]
	if inner := quoted[1 : len(quoted)-1]; plain && utf8.ValidString(inner) {
		return inner
	}
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		panic("cannot read a string that json.Valid accepts: " + err.Error())
	}
	return s
}
