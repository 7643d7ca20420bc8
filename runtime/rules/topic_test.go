package rules

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func TestFilter(t *testing.T) {
	tests := []struct {
		filter, mqtt, topic string
		match               bool
		vars                map[string]string
	}{
		{"plant/+line/#rest", "plant/+/#", "plant/7/a/b", true, map[string]string{"line": "7", "rest": "a/b"}},
		{"plant/+line/#rest", "plant/+/#", "plant/7", true, map[string]string{"line": "7", "rest": ""}},
		{"plant/+line/#rest", "plant/+/#", "plant", false, nil},
		{"+a/x/+b", "+/x/+", "1/x/2", true, map[string]string{"a": "1", "b": "2"}},
		{"+a/x/+b", "+/x/+", "/x/", true, map[string]string{"a": "", "b": ""}},
		{"+a/x/+b", "+/x/+", "1/y/2", false, nil},
		{"+/+b", "+/+", "1/2", true, map[string]string{"b": "2"}},
		{"#all", "#", "a/b", true, map[string]string{"all": "a/b"}},
		{"#all", "#", "$SYS/b", false, nil},
		{"+line-1_x", "+", "a", true, map[string]string{"line-1_x": "a"}},
		{"a/b", "a/b", "a/b", true, nil},
		{"a/#", "a/#", "a/b/c", true, nil},
		{"$share/group/a/+b", "$share/group/a/+", "a/1", true, map[string]string{"b": "1"}},
		{"$share/group/#", "$share/group/#", "a/1", true, nil},
	}
	for _, test := range tests {
		f, err := CompileFilter(test.filter)
		if err != nil {
			t.Errorf("CompileFilter(%q): %v", test.filter, err)
			continue
		}
		if f.MQTT() != test.mqtt {
			t.Errorf("%q: MQTT() = %q, want %q", test.filter, f.MQTT(), test.mqtt)
		}
		vars, ok := f.Bind(test.topic)
		if ok != test.match || !maps.Equal(vars, test.vars) {
			t.Errorf("%q: Bind(%q) = %v, %v", test.filter, test.topic, vars, ok)
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	for _, filter := range []string{"", "a/#rest/b", "a+b", "a/b+", "+a b", "+a+", "##", "+a/+a", "+ä", "a\x00", "$share/g"} {
		if _, err := CompileFilter(filter); spec.KindOf(err) != spec.Invalid {
			t.Errorf("CompileFilter(%q): %v, want an error of kind invalid", filter, err)
		}
	}
}

func TestTemplate(t *testing.T) {
	vars := map[string]any{
		"line": "7", "n": json.Number("9007199254740993"), "f": 1.5, "ok": true, "null": nil,
		"list": []any{1.0}, "empty": "", "line-1": "x", "line_1": "y",
	}
	tests := []struct {
		text          string
		dollar        bool
		want, missing string
	}{
		{"plant/$line/{line}", true, "plant/7/7", ""},
		{"plant/$line/{line}", false, "plant/$line/7", ""},
		{"$line$line", true, "77", ""},
		{"a/$line_1/{line-1}", true, "a/y/x", ""},
		{"a/$line-1", true, "a/7-1", ""},
		{"a/$n/$f/$ok", true, "a/9007199254740993/1.5/true", ""},
		{"a/$empty/b", true, "a//b", ""},
		{"a/$gone/$line", true, "", "gone"},
		{"a/{gone}", true, "", "gone"},
		{"a/$null", true, "", "null"},
		{"a/$list", true, "", "list"},
		{"a/$/{}/{x y}/{line", true, "a/$/{}/{x y}/{line", ""},
		{"a/{{line}}", true, "a/{7}", ""},
		{"plain", true, "plain", ""},
		{"", false, "", ""},
	}
	for _, test := range tests {
		template, err := CompileTemplate(test.text, test.dollar)
		if err != nil {
			t.Errorf("CompileTemplate(%q): %v", test.text, err)
			continue
		}
		if got, missing := template.Expand(vars); got != test.want || missing != test.missing {
			t.Errorf("%q: Expand = %q, %q; want %q, %q", test.text, got, missing, test.want, test.missing)
		}
	}
	for _, text := range []string{"", "a/+/b", "a/#", "a/+$line"} {
		if _, err := CompileTemplate(text, true); spec.KindOf(err) != spec.Invalid {
			t.Errorf("CompileTemplate(%q): %v, want an error of kind invalid", text, err)
		}
	}
}

// FuzzFilter: what a filter binds is what a template of the same shape puts together again.
func FuzzFilter(f *testing.F) {
	f.Add("plant/+line/#rest", "plant/7/a/b")
	f.Add("+a/+b", "/")
	f.Add("$share/g/+a/#b", "x")
	f.Add("#a", "")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		c, err := CompileFilter(filter)
		if err != nil {
			return
		}
		if err := spec.CheckFilter(c.MQTT()); err != nil {
			t.Fatalf("%q: MQTT() = %q: %v", filter, c.MQTT(), err)
		}
		vars, ok := c.Bind(topic)
		if !ok {
			return
		}
		plain := c.MQTT()
		levels := strings.Split(filter, "/")
		if strings.HasPrefix(plain, "$share/") {
			plain, levels = strings.SplitN(plain, "/", 3)[2], levels[2:]
		}
		if !spec.TopicMatches(plain, topic) {
			t.Fatalf("%q binds %q, which does not match", filter, topic)
		}
		parts := strings.Split(topic, "/")
		for i, level := range levels {
			if len(level) < 2 || level[0] != '+' && level[0] != '#' {
				continue
			}
			want := strings.Join(parts[min(i, len(parts)):], "/")
			if level[0] == '+' {
				want = parts[i]
			}
			if got, bound := vars[level[1:]]; !bound || got != want {
				t.Fatalf("%q on %q: %q = %q, want %q", filter, topic, level[1:], got, want)
			}
		}
	})
}

// FuzzTemplate: nothing panics, and a template without variables is its text.
func FuzzTemplate(f *testing.F) {
	f.Add("plant/$line/{name}", true)
	f.Add("${", false)
	f.Fuzz(func(t *testing.T, text string, dollar bool) {
		c, err := CompileTemplate(text, dollar)
		if err != nil {
			return
		}
		got, missing := c.Expand(nil)
		if missing == "" && got != text {
			t.Errorf("Expand of %q = %q", text, got)
		}
		vars := map[string]any{}
		for missing != "" {
			vars[missing] = ""
			got, missing = c.Expand(vars)
		}
		if len(got) > len(text) {
			t.Errorf("Expand of %q with empty variables = %q", text, got)
		}
	})
}
