package expr

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"github.com/recolabs/gnata"
)

// maxDistinct bounds what $distinct compares each with each: objects and arrays.
const maxDistinct = 5000

// evaluator holds what gnata keeps in internal packages: its null, its objects and its
// function types.
type evaluator struct {
	null     any
	function reflect.Type // BuiltinFunction
	merge    plainFunction
	guards   map[string]any
}

// plainFunction is what BuiltinFunction stands for.
type plainFunction = func(args []any, focus any) (any, error)

// gnataOf finds them once, by asking gnata itself.
var gnataOf = sync.OnceValue(func() evaluator {
	e := evaluator{null: builtin("null"), function: reflect.TypeOf(builtin("$merge"))}
	e.merge = plain(builtin("$merge"))
	e.guards = map[string]any{
		"distinct": guardDistinct(builtin("$distinct")),
		"eval":     guardEval(builtin("$eval")),
	}
	return e
})

// builtin evaluates a constant expression.
func builtin(source string) any {
	code, err := gnata.Compile(source)
	if err != nil {
		panic(fmt.Sprintf("cannot compile %q: %v", source, err))
	}
	v, err := code.Eval(context.Background(), nil)
	if err != nil {
		panic(fmt.Sprintf("cannot evaluate %q: %v", source, err))
	}
	return v
}

// plain returns a BuiltinFunction of gnata as the function that it is.
func plain(builtin any) plainFunction {
	target := reflect.TypeOf(plainFunction(nil))
	return reflect.ValueOf(builtin).Convert(target).Interface().(plainFunction)
}

// newObject returns an empty object of gnata's, which keeps the order of its keys: what
// $merge makes of no objects.
func newObject() object {
	v, err := gnataOf().merge([]any{[]any{}}, nil)
	if err != nil {
		panic(fmt.Sprintf("cannot make an object: %v", err)) // a constant call: see the tests
	}
	return v.(object)
}

// Function makes a value for Eval's vars that expressions call as $name(...). What fn returns
// is taken as Import does; a nil is "nothing".
func Function(fn func(args []any) (any, error)) any {
	call := func(args []any, _ any) (any, error) {
		v, err := fn(args)
		if v == nil || err != nil {
			return nil, err
		}
		return Import(v)
	}
	return reflect.ValueOf(call).Convert(gnataOf().function).Interface()
}

// IsNull reports whether v is JSON's null.
func IsNull(v any) bool { return v == nil || gnata.IsNull(v) }

// importVars imports the values; the same map comes back where nothing had to be changed.
func importVars(vars map[string]any) (map[string]any, error) {
	var fresh map[string]any
	for name, v := range vars {
		if reflect.TypeOf(v) == gnataOf().function {
			continue
		}
		var w walk
		imported, changed, err := w.value(v, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot use variable %q: %w", name, err)
		}
		if changed && fresh == nil {
			fresh = maps.Clone(vars)
		}
		if changed {
			fresh[name] = imported
		}
	}
	if fresh == nil {
		return vars, nil
	}
	return fresh, nil
}

// cloneVars returns variables of which an expression may change each part in place.
func cloneVars(vars map[string]any) map[string]any {
	fresh := make(map[string]any, len(vars))
	for name, v := range vars {
		if reflect.TypeOf(v) != gnataOf().function {
			fresh[name] = clone(v)
			continue
		}
		call := plain(v)
		fresh[name] = Function(func(args []any) (any, error) {
			result, err := call(args, nil)
			return clone(result), err
		})
	}
	return fresh
}

// withGuards binds bounded forms of built-in functions over them, below vars.
func withGuards(vars map[string]any) map[string]any {
	all := maps.Clone(gnataOf().guards)
	maps.Copy(all, vars)
	return all
}

// guardDistinct refuses what would compare too many objects with each other.
func guardDistinct(original any) any {
	distinct := plain(original)
	call := func(args []any, focus any) (any, error) {
		if len(args) > 0 {
			if list, ok := args[0].([]any); ok && countComposite(list) > maxDistinct {
				return nil, fmt.Errorf("$distinct takes at most %d objects or arrays", maxDistinct)
			}
		}
		return distinct(args, focus)
	}
	return reflect.ValueOf(call).Convert(reflect.TypeOf(original)).Interface()
}

func countComposite(list []any) (n int) {
	for _, v := range list {
		switch v.(type) {
		case map[string]any, []any, object:
			n++
		}
	}
	return n
}

// guardEval refuses source that Compile would refuse for its length.
func guardEval(original any) any {
	fn := reflect.ValueOf(original)
	return reflect.MakeFunc(fn.Type(), func(in []reflect.Value) []reflect.Value {
		if args := in[0].Interface().([]any); len(args) > 0 {
			if source, ok := args[0].(string); ok && len(source) > MaxSource {
				err := fmt.Errorf("$eval takes at most %d bytes", MaxSource)
				return []reflect.Value{valueOf(nil), reflect.ValueOf(&err).Elem()}
			}
		}
		return fn.Call(in)
	}).Interface()
}

// valueOf is reflect.ValueOf for an argument of type any, which may hold nil.
func valueOf(v any) reflect.Value { return reflect.ValueOf(&v).Elem() }
