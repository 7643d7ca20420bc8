// Package protocol holds each protocol's two configuration structs, connection and address:
// tags only, no driver. The validator, the defaults, the JSON Schema and the reference page
// come from them.
//
// Struct tags: json names the key; default, enum (comma-separated), minimum, maximum,
// required:"true", sensitive:"true", doc (one sentence), unit.
package protocol

import "strings"

// Spec is one protocol.
type Spec struct {
	Name       string   // as written in files, matched case-insensitively: "Opcua"
	Connection any      // pointer to the zero connection struct
	Address    any      // pointer to the zero address struct
	Operations []string // of "subscribe", "read", "write"
}

// Lookup finds a protocol by its name, in any case.
func Lookup(name string) (Spec, bool) {
	for _, s := range All {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return Spec{}, false
}
