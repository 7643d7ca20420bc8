// Package protocol holds each protocol's two configuration structs, connection and address:
// tags only, no driver. The validator, the defaults, the JSON Schema and the reference page
// come from them.
//
// Struct tags, beside json, which names the key:
//
//	default      value where the key is absent; filled into the canonical form
//	defaultby    default that depends on a sibling: "scheme:http=80,https=443"; "@operation" is subscribe, read or write
//	unless       sibling keys, comma-separated, beside which no default is filled in
//	enum         allowed values, comma-separated
//	minimum, maximum, minLength
//	required     "true": the key must be there
//	xor          name of a group, of which exactly one key must be there
//	alias        other places of the same key, comma-separated: "options.securityPolicy"
//	ops          the operations under which the key has a meaning
//	format       hostname, topic, filter, source (a filter with named wildcards), template, cron, uri, base64, absolute-path
//	ref          resource types, comma-separated, one of whose resources the value names
//	sensitive    "true": never shown; "keys": of a map, the entries whose names sound secret
//	scalars      "true": of a map of strings, numbers and booleans count as text
//	single       "true": of a list, one item may stand without its list
//	doc          one sentence
//	unit         "ms", "s"
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
