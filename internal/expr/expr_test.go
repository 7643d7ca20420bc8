package expr

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

func compile(t testing.TB, source string) *Expression {
	t.Helper()
	e, err := Compile(source)
	if err != nil {
		t.Fatalf("Compile(%q): %v", source, err)
	}
	return e
}

func decode(t testing.TB, text string) any {
	t.Helper()
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("Decode(%q): %v", text, err)
	}
	return v
}

func TestEval(t *testing.T) {
	const input = `{"z": 9007199254740993, "a": [18446744073709551615, null, 1.50, "x"], "n": null, "o": {"y": 1, "b": -9223372036854775809}}`
	tests := []struct{ source, want string }{
		{`$`, `{"z":9007199254740993,"a":[18446744073709551615,null,1.50,"x"],"n":null,"o":{"y":1,"b":-9223372036854775809}}`},
		{`{"v": z}`, `{"v":9007199254740993}`},
		{`[z, o.b]`, `[9007199254740993,-9223372036854775809]`},
		{`a`, `[18446744073709551615,null,1.50,"x"]`},
		{`a[0]`, `18446744073709551615`},
		{`$merge([$, {"a": 1}])`, `{"z":9007199254740993,"a":1,"n":null,"o":{"y":1,"b":-9223372036854775809}}`},
		{`$ ~> |o|{"c": $$.z}, "y"|`, `{"z":9007199254740993,"a":[18446744073709551615,null,1.50,"x"],"n":null,"o":{"b":-9223372036854775809,"c":9007199254740993}}`},
		{`$keys($)`, `["z","a","n","o"]`},
		{`$map(a, function($v) { $v })`, `[18446744073709551615,null,1.50,"x"]`},
		{`n`, `null`},
		{`z + 1`, `9007199254740992`},
		{`0.1 + 0.2`, `0.30000000000000004`},
		{`1e21`, `1e+21`},
		{`1e-7`, `1e-7`},
		{`$string(z)`, `"9007199254740993"`},
		{`$distinct([1, 1, {"a": 1}, {"a": 1}])`, `[1,{"a":1}]`},
		{`$eval("z")`, `9007199254740993`},
		{`$twice(21)`, `42`},
		{`$context.topic`, `"t"`},
		{`$missing`, ``},
		{`a.b.c`, ``},
	}
	in := decode(t, input)
	vars := map[string]any{
		"context": map[string]any{"topic": "t"},
		"twice": Function(func(args []any) (any, error) {
			n, _ := Float(args[0])
			return n * 2, nil
		}),
	}
	for _, test := range tests {
		result, defined, err := compile(t, test.source).Eval(t.Context(), in, vars)
		got := ""
		if defined {
			got = string(Append(nil, result))
		}
		if err != nil || got != test.want {
			t.Errorf("%s = %s, %v; want %s", test.source, got, err, test.want)
		}
	}
	if after := string(Append(nil, in)); after != strings.ReplaceAll(input, " ", "") {
		t.Errorf("the input has changed to %s", after)
	}
}

func TestEvalNative(t *testing.T) {
	type level int16
	in := map[string]any{
		"timestamp": int64(1700000000001), "value": uint64(math.MaxUint64), "list": []int64{math.MinInt64},
		"nan": math.NaN(), "level": level(-3), "map": map[string]float32{"f": 0.5}, "none": nil, "ok": true,
		"time": time.Unix(0, 0).UTC(),
	}
	const want = `{"level":-3,"list":[-9223372036854775808],"map":{"f":0.5},"nan":null,"none":null,"ok":true,` +
		`"time":"1970-01-01T00:00:00Z","timestamp":1700000000001,"value":18446744073709551615}`
	result, _, err := compile(t, `$`).Eval(t.Context(), in, nil)
	if got := string(Append(nil, result)); err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if got := string(Append(nil, in)); got != want {
		t.Errorf("Append of native values = %s; want %s", got, want)
	}
	plain, err := json.Marshal(Plain(decode(t, want)))
	if err != nil || string(plain) != want {
		t.Errorf("Plain = %s, %v; want %s", plain, err, want)
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct{ source, want string }{
		{``, `expression is empty at character 1`},
		{`value >`, `nothing follows the ">" operator at character 7 (JSONata S0207)`},
		{`valüe b`, `unexpected token "b" at character 7 (JSONata S0201)`},
		{`$sum(a`, `expected ) before end of expression at character 7 (JSONata S0203)`},
		{`"abc`, `unterminated string literal (JSONata S0101)`},
		{`(a`, `unexpected end of expression at character 3 (JSONata S0202)`},
		{strings.Repeat("x", MaxSource+1), `expression of 65537 bytes is longer than 65536`},
	}
	for _, test := range tests {
		_, err := Compile(test.source)
		var e *Error
		if !errors.As(err, &e) || err.Error() != test.want {
			t.Errorf("Compile(%.20q) = %v; want %s", test.source, err, test.want)
		}
	}
}

func TestEvalErrors(t *testing.T) {
	tests := []struct{ source, want string }{
		{`value + "a"`, `cannot evaluate "value + \"a\"": T2001: the right operand of the "+" operator must evaluate to a number`},
		{`$error("too hot")`, `cannot evaluate "$error(\"too hot\")": D3137: too hot`},
		{`function($x) { $x }`, `cannot evaluate "function($x) { $x }": cannot use a function as a message`},
		{`{"f": $sum}`, `cannot evaluate "{\"f\": $sum}": cannot use a function as a message`},
		{`$boom()`, `cannot evaluate "$boom()": gnata: unexpected panic: boom`},
		{`$distinct([1..6000].{"a": $})`, `cannot evaluate "$distinct([1..6000].{\"a\": $})": $distinct takes at most 5000 objects or arrays`},
		{`[1..1100000]`, `cannot evaluate "[1..1100000]": cannot use a message of more than 1000000 values`},
		{`($f := function($n) { $n = 0 ? [] : [$f($n-1)] }; $f(1000))`, `cannot evaluate "($f := function($n) { $n = 0 ? [] : [$f($n-1)] }; $f(1000))": U1001: stack overflow error: evaluation exceeded stack depth 100`},
	}
	vars := map[string]any{"boom": Function(func([]any) (any, error) { panic("boom") })}
	for _, test := range tests {
		_, _, err := compile(t, test.source).Eval(t.Context(), map[string]any{"value": 1}, vars)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s = %v; want %s", test.source, err, test.want)
		}
	}
}

func TestEvalEnds(t *testing.T) {
	for _, source := range []string{
		`($f := function($n) { $f($n + 1) }; $f(0))`,
		`$sum([1..100000].[1..100000].$)`,
		`$sort([1..1000000], function($a, $b) { $random() > 0.5 })`,
	} {
		e := compile(t, source)
		e.limit = time.Millisecond
		if _, _, err := e.Eval(t.Context(), nil, nil); !errors.Is(err, errTime) {
			t.Errorf("%s ends with %v", source, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := compile(t, `($f := function($n) { $f($n + 1) }; $f(0))`).Eval(ctx, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
}

// Source that nests as deep as its bound lets it must not overflow the stack.
func TestCompileDeep(t *testing.T) {
	for _, part := range []string{"(", "[", "-", `{"a":`, "a[", "1+", "a?", "$f(", "function($x){", "a~>", "/", "|"} {
		n := MaxSource / len(part)
		if _, err := Compile(strings.Repeat(part, n)); err == nil {
			t.Errorf("%q %d times is accepted", part, n)
		}
	}
	e := compile(t, "1"+strings.Repeat("+1", MaxSource/2-1))
	if v, _, err := e.Eval(t.Context(), nil, nil); err != nil || v != float64(MaxSource/2) {
		t.Errorf("a long sum = %v, %v", v, err)
	}
	nested := strings.Repeat("(", MaxSource/2-1) + "1" + strings.Repeat(")", MaxSource/2-1)
	if _, _, err := compile(t, `$eval($)`).Eval(t.Context(), nested, nil); err != nil && !errors.Is(err, errTime) {
		t.Errorf("$eval of a deep expression: %v", err)
	}
	_, _, err := compile(t, `$eval($)`).Eval(t.Context(), strings.Repeat("(", MaxSource+1), nil)
	if err == nil || !strings.Contains(err.Error(), "$eval takes at most") {
		t.Errorf("$eval of a long expression: %v", err)
	}
}

func TestEvalConcurrently(t *testing.T) {
	e := compile(t, `{"v": value, "n": $count($map([1..50], function($i) { $i * value })), "m": $match("ab12", /[0-9]+/).match, "k": $eval("value")}`)
	in := decode(t, `{"value": 9007199254740993}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				result, _, err := e.Eval(t.Context(), in, nil)
				if got := string(Append(nil, result)); err != nil || got != `{"v":9007199254740993,"n":50,"m":"12","k":9007199254740993}` {
					t.Errorf("got %s, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSize(t *testing.T) {
	for _, text := range []string{`{"timestamp":1700000000001,"value":[1,2.5,"text",null,true,{}]}`, `"text"`, `12`} {
		size := Size(decode(t, text))
		if size < len(text)/2 || size > 2*len(text)+4 {
			t.Errorf("Size(%s) = %d", text, size)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	deep := any("x")
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"deep":     deep,
		"nodes":    make([]any, MaxNodes+1),
		"bytes":    strings.Repeat("x", MaxBytes+1),
		"channel":  make(chan int),
		"function": func() {},
		"keys":     map[int]int{1: 1},
	} {
		if _, err := Import(v); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := compile(t, `1`).Eval(t.Context(), nil, map[string]any{"x": func() {}}); err == nil {
		t.Error("a variable that is no value is accepted")
	}
}

func TestTruthyIsBoolean(t *testing.T) {
	boolean := compile(t, `$boolean($)`)
	for _, text := range []string{`0`, `1`, `-0.0`, `0e5`, `9007199254740993`, `""`, `"0"`, `true`, `false`, `null`, `[]`, `[0]`, `[0,1]`, `[[]]`, `[[1]]`, `{}`, `{"a":0}`, `[null]`, `[{}]`} {
		v := decode(t, text)
		want, _, err := boolean.Eval(t.Context(), v, nil)
		if err != nil || Truthy(v) != want {
			t.Errorf("Truthy(%s) = %v; $boolean says %v, %v", text, Truthy(v), want, err)
		}
	}
	if Truthy(math.NaN()) || Truthy(nil) {
		t.Error("NaN or nothing is truthy")
	}
}

func TestDistance(t *testing.T) {
	inf := math.Inf(1)
	tests := []struct {
		a, b any
		want float64
	}{
		{json.Number("9007199254740993"), json.Number("9007199254740992"), 1},
		{json.Number("18446744073709551615"), json.Number("18446744073709551614"), 1},
		{uint64(math.MaxUint64), int64(-1), 1 << 64},
		{int64(math.MinInt64), int64(math.MinInt64 + 1), 1},
		{json.Number("1.5"), 1.25, 0.25},
		{json.Number("1.0"), json.Number("1"), 0},
		{math.NaN(), math.NaN(), 0},
		{math.NaN(), 1.0, inf},
		{inf, inf, 0},
		{inf, -inf, inf},
		{json.Number("1e400"), json.Number("1e400"), 0},
	}
	for _, test := range tests {
		if got, ok := Distance(test.a, test.b); !ok || got != test.want {
			t.Errorf("Distance(%v, %v) = %v, %v; want %v", test.a, test.b, got, ok, test.want)
		}
	}
	if _, ok := Distance("1", 1.0); ok {
		t.Error("text has a distance")
	}
}

func TestEqual(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[1,2]}`, `{"b":[1.0,2],"a":1}`, true},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`{"a":null}`, `{"b":null}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`null`, `null`, true},
		{`null`, `false`, false},
		{`"1"`, `1`, false},
		{`9007199254740993`, `9007199254740992`, false},
	}
	for _, test := range tests {
		if got := Equal(decode(t, test.a), decode(t, test.b)); got != test.want {
			t.Errorf("Equal(%s, %s) = %v", test.a, test.b, got)
		}
	}
}

// FuzzDecode compares Decode and Append with encoding/json.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"a": [1, -0.5e+3, "x\"\u00e9", null, true, {}], "a": 2}`, ` [ ] `, `"\ud800"`, "\"\xff\"", `1 2`, `{"a":}`, ``, `nul`, `01`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := Decode(payload)
		if (err == nil) != json.Valid(payload) {
			if errors.Is(err, ErrNotJSON) {
				t.Fatalf("Decode(%q) = %v", payload, err)
			}
			return // beyond a bound
		}
		if err != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(string(payload)))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		a, errA := json.Marshal(Plain(v))
		b, errB := json.Marshal(want)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("Decode(%q) = %s, %v; want %s, %v", payload, a, errA, b, errB)
		}
		again, err := Decode(Append(nil, v))
		if err != nil || !Equal(again, v) {
			t.Fatalf("Append of %q = %s, %v", payload, Append(nil, v), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	payload := []byte(`{"timestamp":1700000000001,"value":21.5}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	in := decode(b, `{"timestamp":1700000000001,"value":21.5}`)
	for _, source := range []string{`value > 20`, `{"v": value * 2, "t": timestamp}`} {
		e := compile(b, source)
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := e.Eval(b.Context(), in, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
