package ansible

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestMask holds to it that no text of the result holds a secret, whatever it stands in.
func TestMask(t *testing.T) {
	var s secrets
	s.add(map[string]any{"a": "tops3cret", "b": []any{"tops3cret and more", json.Number("4711")}, "c": "", "d": true})
	got := s.ordered().mask(map[string]any{
		"tops3cret": "tops3cret",
		"list":      []any{"x tops3cret and more x", "a tops3cret b 4711", json.Number("4711"), json.Number("47110"), nil, false},
		"deep":      map[string]any{"msg": "nothing"},
	})
	want := map[string]any{
		"tops3cret": masked, // a key is a name
		"list":      []any{"x " + partly + " x", "a " + partly + " b " + partly, masked, json.Number("47110"), nil, false},
		"deep":      map[string]any{"msg": "nothing"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
