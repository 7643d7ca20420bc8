package protocol_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/commissioning/shape"
)

// TestTags holds that the tags of every protocol say enough, and nothing that contradicts.
func TestTags(t *testing.T) {
	for _, s := range protocol.All {
		checkShape(t, s.Name+".connection", shape.Of(s.Connection))
		checkShape(t, s.Name+".address", shape.Of(s.Address))
		for _, op := range s.Operations {
			if !slices.Contains([]string{"subscribe", "read", "write"}, op) {
				t.Errorf("%s has the unknown operation %q", s.Name, op)
			}
		}
	}
}

func checkShape(t *testing.T, path string, s *shape.Shape) {
	t.Helper()
	for _, f := range s.Fields {
		below := path + "." + f.Name
		if !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s has no sentence for its documentation", below)
		}
		if f.HasDefault && f.Required {
			t.Errorf("%s is required and has a default", below)
		}
		if f.HasDefault && len(f.Enum) > 0 && !slices.Contains(f.Enum, f.Default) {
			t.Errorf("%s has a default %q that is not allowed", below, f.Default)
		}
		for _, name := range f.Unless {
			if _, ok := s.Field(name); !ok {
				t.Errorf("%s names the sibling %q, which is not there", below, name)
			}
		}
		for _, c := range f.DefaultBy.Values {
			if sibling, ok := s.Field(f.DefaultBy.Key); ok && !slices.Contains(sibling.Enum, c.When) {
				t.Errorf("%s has a default for %q, which %s cannot be", below, c.When, f.DefaultBy.Key)
			}
		}
		checkShape(t, below, f.Shape)
	}
}

func TestLookup(t *testing.T) {
	for _, name := range []string{"opcua", "MODBUS", "Http", "s7"} {
		if _, ok := protocol.Lookup(name); !ok {
			t.Errorf("%s is not found", name)
		}
	}
	if _, ok := protocol.Lookup("Kafka"); ok {
		t.Error("Kafka is found, and no build has it")
	}
}
