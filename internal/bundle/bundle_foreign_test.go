package bundle

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/testneed"
)

// make runs `make bundle` for this machine and returns the archive.
func makeBundle(t *testing.T, dist string) []byte {
	t.Helper()
	arch := "linux/" + runtime.GOARCH
	cmd := exec.CommandContext(t.Context(), "make", "-C", filepath.Join("..", ".."), "bundle", "VERSION=0.1.0", "DIST="+dist, "BIN="+filepath.Join(dist, "bin"),
		"BUNDLE_PLATFORMS="+arch, "COLLECTION_PLATFORMS="+arch, "IMAGE_ARCHS="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make bundle: %v\n%s", err, out)
	}
	packed, err := os.ReadFile(filepath.Join(dist, "millwright-bundle_0.1.0_linux_"+runtime.GOARCH+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestForeignBundle unpacks a bundle in an empty folder and does what its page says, with no
// more than what is in it.
func TestForeignBundle(t *testing.T) {
	testneed.Program(t, "ansible-galaxy")
	testneed.Program(t, "make")
	terraform := testneed.Program(t, "terraform")
	engine := testneed.OwnDocker(t)
	packed := makeBundle(t, filepath.Join(t.TempDir(), "first"))
	if again := makeBundle(t, filepath.Join(t.TempDir(), "second")); !bytes.Equal(packed, again) {
		t.Error("equal sources give another bundle")
	}
	home := t.TempDir()
	run := func(dir, script string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
		cmd.Dir = dir
		cmd.Stdin = bytes.NewReader(packed)
		cmd.Env = []string{
			"HOME=" + home, "PATH=" + filepath.Join(home, ".local", "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DOCKER_HOST=" + engine,
			// Whoever asks the net after all is answered by nobody.
			"http_proxy=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1",
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
		return string(out)
	}
	run(home, "tar -xzf -")
	folder := filepath.Join(home, "millwright-bundle_0.1.0_linux_"+runtime.GOARCH)
	page, err := os.ReadFile(filepath.Join(folder, installFile))
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllSubmatch(page, -1) {
		printed.WriteString(run(folder, string(block[1])))
	}
	for _, want := range []string{"millwright 0.1.0 (", "millwright/millwright:0.1.0", "millwright.shopfloor:0.1.0 was installed successfully"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &printed)
		}
	}
	// ansible-galaxy compares each file that it installed with the list in the archive.
	run(folder, "ansible-galaxy collection verify --offline millwright.shopfloor")
	configuration := "terraform {\n  required_providers {\n    millwright = { source = \"millwright/millwright\" }\n  }\n}\n"
	if err := os.WriteFile(filepath.Join(home, "main.tf"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	run(home, terraform+" init -no-color && "+terraform+" providers schema -json | grep millwright_service")
}
