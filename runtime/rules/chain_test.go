package rules

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

// outputs gathers what a chain emits.
type outputs struct {
	payloads []string
	faults   []error
}

func startChain(t testing.TB, rules string) (*Chain, *outputs) {
	t.Helper()
	out := &outputs{}
	c, err := Compile(readRules(t, rules), Options{
		Emit: func(o Output) { out.payloads = append(out.payloads, string(o.Payload)) },
		Fail: func(f Failure) { out.faults = append(out.faults, f.Err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, out
}

// FuzzExactIntegers sends an integer of any size through every rule that only passes it on.
func FuzzExactIntegers(f *testing.F) {
	f.Add(false, []byte{9, 0, 0, 7, 1, 9, 9, 2, 5, 4, 7, 4, 0, 9, 9, 3})
	f.Add(true, []byte{9, 2, 2, 3, 3, 7, 2, 0, 3, 6, 8, 5, 4, 7, 7, 5, 8, 0, 9})
	f.Add(false, []byte{1, 8, 4, 4, 6, 7, 4, 4, 0, 7, 3, 7, 0, 9, 5, 5, 1, 6, 1, 5})
	f.Add(true, bytes.Repeat([]byte{7}, 60))
	const chain = `
- parse: {format: json}
- filter: {expression: $exists(value)}
- cov: {key: value}
- stash: {label: kept}
- setContextVars: {vars: {v: value}}
- transform: {expression: '{"a": value, "b": [$context.vars.v], "c": $last("kept").value, "d": $}'}
- transform: {expression: '$ ~> |$|{"e": d.value}|'}
- collect: {}
- burst: {maxSize: 1}
`
	f.Fuzz(func(t *testing.T, negative bool, digits []byte) {
		n := integerOf(negative, digits)
		c, out := startChain(t, chain)
		c.Process(Message{Topic: "t", Payload: []byte(`{"value":` + n + `}`)})
		want := strings.ReplaceAll(`[{"t":{"a":N,"b":[N],"c":N,"d":{"value":N},"e":N}}]`, "N", n)
		if len(out.payloads) != 1 || out.payloads[0] != want || out.faults != nil {
			t.Errorf("got %v, %v; want %s", out.payloads, out.faults, want)
		}
	})
}

func integerOf(negative bool, digits []byte) string {
	var b []byte
	for _, d := range digits[:min(len(digits), 300)] {
		b = append(b, '0'+d%10)
	}
	n := strings.TrimLeft(string(b), "0")
	switch {
	case n == "":
		return "0"
	case negative:
		return "-" + n
	}
	return n
}

func TestProcessConcurrently(t *testing.T) {
	const workers, each = 8, 200
	c, out := startChain(t, `
- setContextVars: {vars: {v: value}}
- transform: {expression: '{"value": $context.vars.v, "before": $exists($last())}'}
- stash: {label: s}
- cov: {key: value}
- burst: {maxSize: 7, interval: 1}
- transform: {expression: $count($)}
`)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				c.Process(Message{Topic: "t", Label: fmt.Sprint(w), Payload: fmt.Appendf(nil, `{"value":%d}`, i)})
			}
		})
	}
	wg.Wait()
	c.Close()
	c.Close()
	var sum int
	for _, payload := range out.payloads {
		var n int
		if _, err := fmt.Sscan(payload, &n); err != nil || n < 1 || n > 7 {
			t.Fatalf("a burst of %q, %v", payload, err)
		}
		sum += n
	}
	if sum != workers*each || out.faults != nil {
		t.Errorf("%d messages come out, want %d; failures %v", sum, workers*each, out.faults)
	}
}

// While Emit blocks, intervals that end wait their turn, and Close waits for all of them.
func TestCloseWaits(t *testing.T) {
	entered, release := make(chan struct{}, 3), make(chan struct{})
	var emitted []string
	c, err := Compile(readRules(t, `[{burst: {interval: 1, label: "{l}"}}]`), Options{
		Emit: func(o Output) {
			entered <- struct{}{}
			<-release
			emitted = append(emitted, string(o.Payload))
		},
		Fail: func(f Failure) { t.Error(f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for _, l := range []string{"a", "b", "c"} {
		senders.Go(func() {
			c.Process(Message{Topic: "t", Vars: map[string]string{"l": l}, Payload: []byte(`"` + l + `"`)})
		})
	}
	<-entered // one interval has ended; the others may wait for it
	closed := make(chan struct{})
	go func() {
		senders.Wait()
		c.Close()
		close(closed)
	}()
	close(release)
	<-closed
	slices.Sort(emitted)
	if got := strings.Join(emitted, " "); got != `["a"] ["b"] ["c"]` {
		t.Errorf("emitted %s, want three bursts, each once", got)
	}
}

// Past its bounds a burst is emitted early rather than growing on.
func TestBurstBound(t *testing.T) {
	c, out := startChain(t, `[{burst: {interval: 3600000}}]`)
	payload := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	for range maxBurstBytes>>20 + 1 {
		c.Process(Message{Topic: "t", Payload: payload})
	}
	if len(out.payloads) != 1 || out.faults != nil {
		t.Errorf("%d bursts, failures %v; want one burst before its interval", len(out.payloads), out.faults)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	c, out := startChain(t, `[{cov: {key: value}}, {filter: {expression: "false"}}, {collect: {}}]`)
	for i := range 2*covSources + 10 {
		c.Process(Message{Topic: fmt.Sprint(i), Payload: []byte(`{"value":1}`)})
	}
	s := c.steps[0].(*cov)
	if n := len(s.young) + len(s.old); n > 2*covSources {
		t.Errorf("cov remembers %d sources", n)
	}
	collected := c.steps[2].(*collect)
	for i := range maxCollected + 1 {
		m := newMessage(Message{Topic: fmt.Sprint(i), Payload: []byte(`1`)})
		if len(collected.values) < maxCollected {
			collected.values[m.label] = 1.0
			continue
		}
		if _, err := collected.run(c, m); err == nil {
			t.Error("collect keeps a source too many")
		}
	}
	if out.faults != nil {
		t.Error(out.faults)
	}
}

// What is JSON but beyond the bounds of a message fails; it is not taken for text.
func TestMessageBounds(t *testing.T) {
	c, out := startChain(t, `[{filter: {expression: "true"}}]`)
	c.Process(Message{Topic: "t", Payload: []byte(strings.Repeat("[", 300) + strings.Repeat("]", 300))})
	c.Process(Message{Topic: "t", HasValue: true, Value: map[string]any{"value": make(chan int)}})
	if len(out.payloads) != 0 || len(out.faults) != 2 {
		t.Errorf("got %v, failures %v; want two failures", out.payloads, out.faults)
	}
}

// A message keeps nothing of the payload, which the caller may use again.
func TestPayloadIsNotKept(t *testing.T) {
	c, out := startChain(t, `[{collect: {}}]`)
	for _, first := range []string{`{"a":1}`, `text...`, "\xff\xff\xff\xff\xff\xff\xff"} {
		payload := []byte(first)
		c.Process(Message{Topic: "a", Payload: payload})
		before := out.payloads[len(out.payloads)-1]
		copy(payload, "zzzzzzz")
		c.Process(Message{Topic: "b", Payload: []byte("1")})
		if after := out.payloads[len(out.payloads)-1]; !strings.HasPrefix(after, before[:len(before)-1]) {
			t.Errorf("%q: kept %s, then %s", first, before, after)
		}
	}
}

func TestCompileKind(t *testing.T) {
	_, err := Compile(readRules(t, `[{transform: {expression: "("}}]`), Options{})
	if spec.KindOf(err) != spec.Invalid {
		t.Errorf("Compile: %v, want an error of kind invalid", err)
	}
}

// FuzzParse runs every format on any bytes: no panic, and numbers come out as they went in.
func FuzzParse(f *testing.F) {
	formats := []string{
		"json", "utf8", "latin1", "ascii", "boolean", "int8", "uint8", "int16BE", "int16LE", "uint16BE", "uint16LE",
		"int32BE", "int32LE", "uint32BE", "uint32LE", "int64BE", "int64LE", "uint64BE", "uint64LE",
		"floatBE", "floatLE", "doubleBE", "doubleLE", "toBase64", "fromBase64",
	}
	for i := range formats {
		f.Add(i, []byte("\x80\x00\x00\x00\x00\x00\x00\x01"))
	}
	f.Fuzz(func(t *testing.T, format int, payload []byte) {
		name := formats[uint(format)%uint(len(formats))]
		c, out := startChain(t, fmt.Sprintf(`[{parse: {format: %s}}, {filter: {expression: "true"}}]`, name))
		c.Process(Message{Topic: "t", Payload: payload})
		if len(out.payloads)+len(out.faults) != 1 {
			t.Errorf("%s of %x: %d outputs, %d failures", name, payload, len(out.payloads), len(out.faults))
		}
	})
}

func benchmarkChain(b *testing.B, rules string, m Message) {
	c, err := Compile(readRules(b, rules), Options{
		Emit: func(Output) {},
		Fail: func(f Failure) { b.Fatal(f) },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		c.Process(m)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

var benchmarkMessage = Message{Topic: "plant/a", Payload: []byte(`{"timestamp":1700000000001,"value":21.5}`)}

func BenchmarkChainEmpty(b *testing.B) { benchmarkChain(b, `[]`, benchmarkMessage) }

func BenchmarkChainFilter(b *testing.B) {
	benchmarkChain(b, `[{filter: {expression: value > 20}}]`, benchmarkMessage)
}

func BenchmarkChainFilterCov(b *testing.B) {
	benchmarkChain(b, `[{filter: {expression: value > 20}}, {cov: {key: value, deadband: 0.5}}]`, benchmarkMessage)
}

func BenchmarkChainTransform(b *testing.B) {
	benchmarkChain(b, `[{transform: {expression: '{"celsius": (value - 32) / 1.8, "t": timestamp}'}}]`, benchmarkMessage)
}

func BenchmarkChainEndpoint(b *testing.B) {
	benchmarkChain(b, `[{filter: {expression: value > 20}}, {cov: {key: timestamp}}]`,
		Message{Topic: "a", HasValue: true, Value: map[string]any{"timestamp": int64(1), "value": 21.5}})
}

func BenchmarkChainAll(b *testing.B) {
	benchmarkChain(b, `
- parse: {format: json}
- filter: {expression: value > 20}
- stash: {label: s}
- setContextVars: {vars: {unit: '"C"'}}
- transform: {expression: '{"v": value, "unit": $context.vars.unit, "before": $last().value}'}
- collect: {}
- burst: {maxSize: 10}
`, benchmarkMessage)
}

// TestFailureNamesTheRule: who reads it finds the rule and the message.
func TestFailureNamesTheRule(t *testing.T) {
	var got []string
	c, err := Compile(readRules(t, `[{"parse":{"format":"json"}},{"transform":{"expression":"$error('no')"}}]`), Options{
		Emit: func(Output) {},
		Fail: func(f Failure) { got = append(got, f.Topic+": "+f.Error()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Process(Message{Topic: "a", Payload: []byte("{")})
	c.Process(Message{Topic: "b", Payload: []byte("1")})
	c.Close()
	c.Process(Message{Topic: "c", Payload: []byte("1")})
	for i, want := range []string{"a: rule 1 (parse) failed: ", "b: rule 2 (transform) failed: ", "c: cannot process the message: the rule chain is closed"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("got %q, want %q at %d", got, want, i)
		}
	}
}
