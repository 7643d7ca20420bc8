package testneed

import (
	"fmt"
	"os/exec"
	"testing"
)

// Tmpfs returns a directory on a file system of its own that holds so many bytes, until the
// test ends. Linux lets only root mount one.
func Tmpfs(t testing.TB, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", dir).CombinedOutput()
	if err != nil {
		missing(t, fmt.Sprintf("a tmpfs (root on Linux; mount: %v, %s)", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v, %s", err, out)
		}
	})
	return dir
}
