package client

import (
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// versionHeader is in every answer of an instance.
const versionHeader = "Millwright-Version"

// checkVersion refuses a server of another major version. A side whose version is not known
// (a development build, a proxy's answer) is not compared.
func (c *Client) checkVersion(server string) error {
	mine, ok := major(c.version)
	theirs, ok2 := major(server)
	if !ok || !ok2 || mine == theirs {
		return nil
	}
	return spec.Errorf(spec.Conflict, "cannot talk to %s: it runs version %s, and this program is version %s", c.base.Redacted(), server, c.version).
		WithHint("use a program of the same major version as the instance")
}

// major returns 1 for "v1.2.3" and "1.2.3-rc.1"; ok is false for what is no version.
func major(version string) (n int, ok bool) {
	first, _, dotted := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, err := strconv.Atoi(first)
	return n, dotted && err == nil && n >= 0
}
