package expr

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/recolabs/gnata"
)

// object is an object whose keys keep their order: gnata's own.
type object interface {
	Len() int
	Range(fn func(key string, value any) bool)
	Get(key string) (any, bool)
	Set(key string, value any)
}

var (
	errDepth = fmt.Errorf("cannot use a message nested deeper than %d levels", MaxDepth)
	errNodes = fmt.Errorf("cannot use a message of more than %d values", MaxNodes)
	errBytes = fmt.Errorf("cannot use a message of more than %d bytes of text", MaxBytes)
	errCode  = errors.New("cannot use a function as a message")
)

// Import returns v as expressions see it: integers of Go become json.Number, nil becomes
// JSON's null, slices of any element type []any, and maps objects. What needs no change is not
// copied, so importing twice costs no memory. It refuses what is beyond
// MaxDepth, MaxNodes or MaxBytes and values that JSON cannot hold.
func Import(v any) (any, error) {
	var w walk
	imported, _, err := w.value(v, 0)
	return imported, err
}

// walk counts what it passes.
type walk struct {
	nodes, bytes int
}

func (w *walk) count(depth, text int) error {
	w.nodes++
	w.bytes += text
	switch {
	case depth > MaxDepth:
		return errDepth
	case w.nodes > MaxNodes:
		return errNodes
	case w.bytes > MaxBytes:
		return errBytes
	}
	return nil
}

// value imports v; changed says that the result is another value than v.
func (w *walk) value(v any, depth int) (result any, changed bool, err error) {
	switch v := v.(type) {
	case nil:
		return gnataOf().null, true, w.count(depth, 0)
	case string:
		return v, false, w.count(depth, len(v))
	case json.Number:
		return v, false, w.count(depth, len(v))
	case []byte:
		return v, false, w.count(depth, len(v))
	case bool, float64:
		return v, false, w.count(depth, 0)
	case []any:
		return w.list(v, depth)
	case map[string]any:
		return w.object(v, depth)
	case object: // decoded, imported or made out of such already
		return v, false, w.count(depth, 0)
	}
	if gnata.IsNull(v) {
		return v, false, w.count(depth, 0)
	}
	return w.native(v, depth)
}

func (w *walk) list(list []any, depth int) (any, bool, error) {
	if err := w.count(depth, 0); err != nil {
		return nil, false, err
	}
	var fresh []any
	for i, v := range list {
		imported, changed, err := w.value(v, depth+1)
		if err != nil {
			return nil, false, err
		}
		if changed && fresh == nil {
			fresh = append(make([]any, 0, len(list)), list...)
		}
		if changed {
			fresh[i] = imported
		}
	}
	if fresh == nil {
		return list, false, nil
	}
	return fresh, true, nil
}

// object imports a map of Go; having no order of its own it gets that of its sorted keys.
func (w *walk) object(m map[string]any, depth int) (any, bool, error) {
	if err := w.count(depth, 0); err != nil {
		return nil, false, err
	}
	result := newObject()
	for _, key := range sortedKeys(m) {
		imported, _, err := w.value(m[key], depth+1)
		if err != nil {
			return nil, false, err
		}
		w.bytes += len(key)
		result.Set(key, imported)
	}
	return result, true, nil
}

// native imports what machines' drivers and other Go code deliver.
func (w *walk) native(v any, depth int) (any, bool, error) {
	switch v := v.(type) {
	case int64:
		return json.Number(strconv.FormatInt(v, 10)), true, w.count(depth, 8)
	case uint64:
		return json.Number(strconv.FormatUint(v, 10)), true, w.count(depth, 8)
	case time.Time:
		return v.Format(time.RFC3339Nano), true, w.count(depth, 32)
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return w.native(r.Int(), depth)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return w.native(r.Uint(), depth)
	case reflect.Float32, reflect.Float64:
		return r.Float(), true, w.count(depth, 0)
	case reflect.Bool:
		return r.Bool(), true, w.count(depth, 0)
	case reflect.String:
		return r.String(), true, w.count(depth, r.Len())
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = r.Index(i).Interface()
		}
		result, _, err := w.list(list, depth)
		return result, true, err
	case reflect.Map:
		if r.Type().Key().Kind() == reflect.String {
			m := make(map[string]any, r.Len())
			for it := r.MapRange(); it.Next(); {
				m[it.Key().String()] = it.Value().Interface()
			}
			result, _, err := w.object(m, depth)
			return result, true, err
		}
	}
	return nil, false, fmt.Errorf("cannot use a value of type %T in a message", v)
}

// export checks a result: no functions inside, and within the bounds.
func export(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	var w walk
	err := w.check(v, 0)
	return v, err
}

func (w *walk) check(v any, depth int) error {
	var text int
	switch v := v.(type) {
	case nil, bool, float64:
	case string:
		text = len(v)
	case json.Number:
		text = len(v)
	case []byte:
		text = len(v)
	case []any:
		for _, item := range v {
			if err := w.check(item, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, item := range v {
			w.bytes += len(k)
			if err := w.check(item, depth+1); err != nil {
				return err
			}
		}
	case object:
		var err error
		v.Range(func(k string, item any) bool {
			w.bytes += len(k)
			err = w.check(item, depth+1)
			return err == nil
		})
		if err != nil {
			return err
		}
	default:
		if !gnata.IsNull(v) {
			return errCode
		}
	}
	return w.count(depth, text)
}

// Size returns about how many bytes v takes as JSON.
func Size(v any) int {
	var w walk
	if err := w.check(v, 0); err != nil {
		return MaxBytes
	}
	return w.bytes + 4*w.nodes
}

// Plain returns a tree with Go's nil for null and map[string]any for every object.
func Plain(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = Plain(item)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, item := range v {
			m[k] = Plain(item)
		}
		return m
	case object:
		m := make(map[string]any, v.Len())
		v.Range(func(k string, item any) bool {
			m[k] = Plain(item)
			return true
		})
		return m
	}
	if gnata.IsNull(v) {
		return nil
	}
	return v
}

// clone copies the objects and lists of a tree, for an expression that changes them in place.
func clone(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = clone(item)
		}
		return list
	case object:
		m := newObject()
		v.Range(func(k string, item any) bool {
			m.Set(k, clone(item))
			return true
		})
		return m
	}
	return v
}

// Truthy is JSONata's $boolean: false are false, null, 0, NaN, "", nothing, and lists and
// objects without anything truthy or at all in them.
func Truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v != ""
	case []byte:
		return len(v) > 0
	case []any:
		for _, item := range v {
			if Truthy(item) {
				return true
			}
		}
		return false
	case map[string]any:
		return len(v) > 0
	case object:
		return v.Len() > 0
	}
	f, ok := Float(v)
	return ok && f != 0 && !math.IsNaN(f)
}

// Get returns an object's member or a list's element ("0" is the first).
func Get(v any, key string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		item, ok := v[key]
		return item, ok
	case object:
		return v.Get(key)
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}

// base64Text is how bytes stand inside a JSON document.
func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
