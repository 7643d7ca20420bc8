package opcua

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// toResult turns what the server sent into a mapper's value.
func toResult(v dataValue) mapper.Result {
	r := mapper.Result{Time: v.source}
	if r.Time.IsZero() {
		r.Time = v.server
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if isBad(v.status) {
		r.Err = statusError(v.status)
		return r
	}
	r.Value, r.Err = fromAny(v.value.value)
	return r
}

// fromAny maps OPC UA's built-in types: numbers exactly, times as RFC 3339, byte strings as
// base64, ids as text, structures as objects.
func fromAny(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool, int64, uint64, float64, string:
		return v, nil
	case []any:
		return fromList(v)
	case int8:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case uint8:
		return uint64(v), nil
	case uint16:
		return uint64(v), nil
	case uint32:
		return uint64(v), nil
	case float32:
		return shortest(v), nil
	case []byte:
		if v == nil {
			return nil, nil //nolint:nilnil // null is a value
		}
		return base64.StdEncoding.EncodeToString(v), nil
	case time.Time:
		if v.IsZero() {
			return nil, nil //nolint:nilnil // the standard's "no time"
		}
		return v.UTC().Format(time.RFC3339Nano), nil
	}
	return fromNamed(value)
}

// shortest is the float64 that prints like the float32: 0.1, not 0.10000000149011612.
func shortest(f float32) float64 {
	text := strconv.FormatFloat(float64(f), 'g', -1, 32)
	exact, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return float64(f)
	}
	return exact
}

func fromNamed(value any) (any, error) {
	switch v := value.(type) {
	case *ua.GUID:
		return v.String(), nil
	case *ua.NodeID:
		return v.String(), nil
	case *ua.ExpandedNodeID:
		return v.NodeID.String(), nil
	case *ua.LocalizedText:
		return v.Text, nil
	case *ua.QualifiedName:
		if v.NamespaceIndex == 0 {
			return v.Name, nil
		}
		return fmt.Sprintf("%d:%s", v.NamespaceIndex, v.Name), nil
	case ua.StatusCode:
		return cmp.Or(statusName(v), "Good"), nil
	case ua.XMLElement:
		return string(v), nil
	case variantValue:
		return fromAny(v.value)
	case dataValue:
		r := toResult(v)
		return r.Value, r.Err
	case *structure:
		return fromStructure(v)
	}
	return fromReflect(reflect.ValueOf(value))
}

func fromList(list []any) (any, error) {
	mapped := make([]any, len(list))
	for i, element := range list {
		var err error
		if mapped[i], err = fromAny(element); err != nil {
			return nil, err
		}
	}
	return mapped, nil
}

func fromStructure(s *structure) (any, error) {
	switch {
	case s.empty:
		return nil, nil //nolint:nilnil // an empty structure is null
	case s.value == nil:
		return nil, fmt.Errorf("cannot decode a structure of the type %s: it is not one of the standard's plain ones", s.typeID)
	}
	return fromAny(s.value)
}

// fromReflect maps typed arrays, of any number of dimensions, and the standard's structures.
func fromReflect(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = fromAny(v.Index(i).Interface()); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Pointer:
		if v.IsNil() {
			return nil, nil //nolint:nilnil // an absent member is null
		}
		return fromReflect(v.Elem())
	case reflect.Struct:
		return fromStruct(v)
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil // an enumeration
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint(), nil
	case reflect.String:
		return v.String(), nil
	}
	return nil, fmt.Errorf("cannot map a value of the type %s", v.Type())
}

func fromStruct(v reflect.Value) (any, error) {
	members := map[string]any{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		value, err := fromAny(v.Field(i).Interface())
		if err != nil {
			return nil, err
		}
		members[lowerFirst(field.Name)] = value
	}
	return members, nil
}

func lowerFirst(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}
