package ansible

import (
	"os"
	"path/filepath"
	"testing"
)

// TestExpectation finds the instance that a task means among those that earlier tasks would
// bring up.
func TestExpectation(t *testing.T) {
	dir := t.TempDir()
	config, other := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(other, []byte("contexts: {plant: {url: 'https://plant.example'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := map[string]any{"name": "a", "context": "a", "config": config, "url": "https://localhost:8443", "new": true}
	b := map[string]any{"name": "b", "context": "b", "config": config, "url": "https://localhost:9443", "new": false}
	for name, c := range map[string]struct {
		given   map[string]any
		env     map[string]string
		notes   []any
		applied bool // no check mode
		want    string
	}{
		"the only one":                    {notes: []any{a}, want: "a"},
		"none":                            {notes: []any{}},
		"without check mode":              {notes: []any{a}, applied: true},
		"two":                             {notes: []any{a, b}},
		"two, one named":                  {notes: []any{a, b}, given: map[string]any{"context": "b"}, want: "b"},
		"two, one named in a variable":    {notes: []any{a, b}, env: map[string]string{"MILLWRIGHT_CONTEXT": "a"}, want: "a"},
		"by its address":                  {notes: []any{a, b}, given: map[string]any{"api_url": "https://localhost:9443/"}, want: "b"},
		"by its address in a variable":    {notes: []any{a, b}, env: map[string]string{"MILLWRIGHT_URL": "https://localhost:8443"}, want: "a"},
		"another's address":               {notes: []any{a}, given: map[string]any{"api_url": "https://plant.example"}},
		"another's name":                  {notes: []any{a}, given: map[string]any{"context": "plant"}},
		"an option before the variables":  {notes: []any{a, b}, given: map[string]any{"context": "b"}, env: map[string]string{"MILLWRIGHT_URL": "https://localhost:8443"}, want: "b"},
		"another user's":                  {notes: []any{a}, env: map[string]string{"MILLWRIGHT_CONFIG": filepath.Join(dir, "none.yaml")}},
		"another user's, by its address":  {notes: []any{a}, given: map[string]any{"api_url": "https://localhost:8443"}, env: map[string]string{"MILLWRIGHT_CONFIG": other}, want: "a"},
		"beside one that there is":        {notes: []any{with(a, "config", other)}, env: map[string]string{"MILLWRIGHT_CONFIG": other}},
		"beside one that there is, named": {notes: []any{with(a, "config", other)}, given: map[string]any{"context": "a"}, env: map[string]string{"MILLWRIGHT_CONFIG": other}, want: "a"},
		"of the name of one there was":    {notes: []any{with(with(a, "config", other), "context", "plant")}, env: map[string]string{"MILLWRIGHT_CONFIG": other}, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"MILLWRIGHT_CONFIG": config}
			for k, v := range c.env {
				env[k] = v
			}
			task := &task{
				call: Call{Getenv: func(name string) string { return env[name] }}, check: !c.applied,
				given: map[string]any{keyExpected: c.notes}, args: arguments(c.given),
			}
			found, ok, err := task.expectation()
			if err != nil || ok != (c.want != "") || found.Name != c.want {
				t.Errorf("got %+v, %v, %v", found, ok, err)
			}
		})
	}
}

func with(m map[string]any, key string, value any) map[string]any {
	changed := map[string]any{key: value}
	for k, v := range m {
		if k != key {
			changed[k] = v
		}
	}
	return changed
}
