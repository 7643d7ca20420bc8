package testneed

import (
	"os"
	"testing"
)

// Root is for tests that become another user.
func Root(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "root")
	}
}
