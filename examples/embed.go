// Package examples embeds the files that the demo installs, so that the demo needs nothing
// but the binary.
package examples

import _ "embed" // for the directive below

// QuickstartFile is quickstart/service.yml.
//
//go:embed quickstart/service.yml
var QuickstartFile []byte
