package expr

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Float returns a number of any type as float64. A number beyond float64's range is ±Inf.
func Float(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case json.Number:
		f, err := strconv.ParseFloat(string(n), 64)
		return f, err == nil || math.IsInf(f, 0)
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case int:
		return float64(n), true
	case float32:
		return float64(n), true
	}
	return 0, false
}

// integer returns a number's exact value where it is written as an integer.
func integer(v any) (*big.Int, bool) {
	switch n := v.(type) {
	case json.Number:
		if len(n) > 40 || strings.ContainsAny(string(n), ".eE") {
			return nil, false
		}
		return new(big.Int).SetString(string(n), 10)
	case int64:
		return big.NewInt(n), true
	case uint64:
		return new(big.Int).SetUint64(n), true
	case int:
		return big.NewInt(int64(n)), true
	}
	return nil, false
}

// Distance returns how far two numbers are apart, exact for integers as far as the distance
// itself fits float64. Equal numbers, NaN and NaN included, are 0 apart; NaN and another
// number +Inf. ok is false where one is no number.
func Distance(a, b any) (distance float64, ok bool) {
	x, okX := Float(a)
	y, okY := Float(b)
	switch {
	case !okX || !okY:
		return 0, false
	case x == y && math.Abs(x) < 1<<53 || math.IsNaN(x) && math.IsNaN(y):
		return 0, true
	case math.IsNaN(x) || math.IsNaN(y):
		return math.Inf(1), true
	}
	i, okI := integer(a)
	j, okJ := integer(b)
	if okI && okJ {
		d, _ := new(big.Float).SetInt(i.Sub(i, j).Abs(i)).Float64()
		return d, true
	}
	if x == y {
		return 0, true
	}
	return math.Abs(x - y), true
}

// Equal compares two trees: numbers by value, objects without regard to order.
func Equal(a, b any) bool {
	if d, ok := Distance(a, b); ok {
		return d == 0
	}
	if IsNull(a) || IsNull(b) {
		return IsNull(a) && IsNull(b)
	}
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && a == b
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case []byte:
		b, ok := b.([]byte)
		return ok && string(a) == string(b)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !Equal(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return equalObjects(a, b)
}

func equalObjects(a, b any) bool {
	n, okA := members(a)
	m, okB := members(b)
	if !okA || !okB || n != m {
		return false
	}
	equal := true
	each(a, func(key string, item any) bool {
		other, ok := Get(b, key)
		equal = ok && Equal(item, other)
		return equal
	})
	return equal
}

// members counts an object's members.
func members(v any) (int, bool) {
	switch v := v.(type) {
	case map[string]any:
		return len(v), true
	case object:
		return v.Len(), true
	}
	return 0, false
}

// each calls fn for an object's members until it returns false.
func each(v any, fn func(key string, item any) bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			if !fn(key, item) {
				return
			}
		}
	case object:
		v.Range(fn)
	}
}

// NonFinite returns the first NaN or infinite number in v, which JSON cannot hold.
func NonFinite(v any) (f float64, found bool) {
	switch v := v.(type) {
	case float64:
		return v, math.IsNaN(v) || math.IsInf(v, 0)
	case float32:
		return NonFinite(float64(v))
	case []any:
		for _, item := range v {
			if f, found = NonFinite(item); found {
				return f, true
			}
		}
	case map[string]any, object:
		each(v, func(_ string, item any) bool {
			f, found = NonFinite(item)
			return !found
		})
	}
	return f, found
}
