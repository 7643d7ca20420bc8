package commissioning

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func TestSame(t *testing.T) {
	const file = "description: d\nresources:\n  a: {type: X, properties: {n: 16, s: 'x', r: !ref b, l: [1, 2]}}\n"
	for name, test := range map[string]struct {
		other string
		same  bool
	}{
		"itself":       {file, true},
		"comment":      {"# hello\n" + file, true},
		"order":        {"resources:\n  a: {properties: {l: [1, 2], r: !ref b, s: x, n: 16}, type: X}\ndescription: d\n", true},
		"block":        {"description: \"d\"\nresources:\n  a:\n    type: X\n    properties:\n      n: 0x10\n      s: \"x\"\n      r: !ref 'b'\n      l:\n      - 1\n      - 2\n", true},
		"other text":   {strings.Replace(file, "'x'", "y", 1), false},
		"other number": {strings.Replace(file, "16", "17", 1), false},
		"text for it":  {strings.Replace(file, "16", "'16'", 1), false},
		"no tag":       {strings.Replace(file, "!ref b", "b", 1), false},
		"other tag":    {strings.Replace(file, "!ref b", "!sub b", 1), false},
		"list order":   {strings.Replace(file, "[1, 2]", "[2, 1]", 1), false},
		"more":         {file + "version: 1\n", false},
		"unreadable":   {"a: [", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Same([]byte(file), []byte(test.other)); got != test.same {
				t.Errorf("Same is %v", got)
			}
			if got := Same([]byte(test.other), []byte(file)); got != test.same {
				t.Errorf("the other way round Same is %v", got)
			}
		})
	}
	if !Same([]byte("a: ["), []byte("a: [")) {
		t.Error("an unreadable file is not the same as itself")
	}
}

// Files that unfold without end are compared and refused in no time.
func TestSameUnfolds(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	if !Same([]byte(b.String()), []byte("# c\n"+b.String())) {
		t.Error("not the same")
	}
	if _, found := Tree("f", []byte(b.String())); !spec.HasErrors(found) {
		t.Error("it was unfolded")
	}
}

// What is written of a file's tree says the same as the file.
func TestText(t *testing.T) {
	files, err := filepath.Glob("../../examples/services/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tree, found := Tree(name, src)
		if spec.HasErrors(found) {
			t.Fatal(found)
		}
		text, err := Text(tree)
		if err != nil {
			t.Fatal(err)
		}
		if !Same(src, text) {
			t.Errorf("%s became\n%s", name, text)
		}
		if again, _ := Tree(name, text); !reflect.DeepEqual(again, tree) {
			t.Errorf("%s: another tree", name)
		}
	}
	text, err := Text(map[string]any{"resources": map[string]any{"a": map[string]any{
		"n": 1.5, "s": "1", "t": "true", "u": nil, "m": map[string]any{"$merge": []any{map[string]any{"$ref": "x"}, map[string]any{"b": true}}},
		"sub": map[string]any{"$sub": "a ${x} b"}, "lines": "one\ntwo\n", "e": "",
	}}, "description": "d"})
	want := "description: d\nresources:\n  a:\n    e: \"\"\n    lines: |\n      one\n      two\n    m: !merge\n      - !ref x\n      - b: true\n    n: 1.5\n    s: \"1\"\n    sub: !sub a ${x} b\n    t: \"true\"\n    u: null\n"
	if err != nil || string(text) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, text, want)
	}
	for _, wrong := range []map[string]any{{"$ref": 1}, {"$merge": "x"}, {"$get": "x"}} {
		if _, err := Text(map[string]any{"a": wrong}); spec.KindOf(err) != spec.Invalid {
			t.Errorf("%v: error is %v", wrong, err)
		}
	}
}
