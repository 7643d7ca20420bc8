// Package testneed lets a test name the foreign program that it needs. Where the program is
// missing the test is skipped by name, or, when MILLWRIGHT_TEST_REQUIRE_ALL is set as in CI,
// it fails.
package testneed

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Program returns the path of an executable, by the name of its Debian command.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "program "+name)
	}
	return path
}

// Python returns a python3 that can import the module.
func Python(t testing.TB, module string) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import "+module).Run() == nil {
			return python
		}
	}
	missing(t, "Python module "+module)
	return ""
}

// Node returns the path of node and the folder below which the npm package is installed.
func Node(t testing.TB, pkg string) (node, dir string) {
	t.Helper()
	node = Program(t, "node")
	_, file, _, _ := runtime.Caller(0)
	dir = filepath.Join(filepath.Dir(file), "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", pkg)); err != nil {
		missing(t, "npm package "+pkg+" (make test installs it)")
	}
	return node, dir
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("MILLWRIGHT_TEST_REQUIRE_ALL") != "" {
		t.Fatalf("%s is missing, and MILLWRIGHT_TEST_REQUIRE_ALL is set", what)
	}
	t.Skipf("%s is missing", what)
}
