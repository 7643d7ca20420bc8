package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refused runs `millwright up` with flags that cannot work and checks that it ends with the
// exit code and one clear line (and a hint), naming what is wrong.
func refused(t *testing.T, i *instance, code int, want string, flags ...string) {
	t.Helper()
	args := append([]string{"up", "--data", filepath.Join(i.dir, "data"), "--listen-http", i.http, "--listen-mqtt", i.mqtt}, flags...)
	_, stderr, got := i.run(args...)
	if got != code {
		t.Errorf("exit %d, want %d: %s", got, code, stderr)
	}
	if lines := strings.Count(strings.TrimSpace(stderr), "\n"); lines > 1 || !strings.Contains(stderr, want) {
		t.Errorf("want one line (and a hint) with %q, got:\n%s", want, stderr)
	}
}

func TestEndToEndPortInUse(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--listen-http", "--listen-mqtt"} {
		i := newInstance(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		refused(t, i, 1, l.Addr().String(), flag, l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		i.up() // the refusal left a data directory that works
		i.stop()
	}
}

func TestEndToEndPlainListenerOnTheNetworkIsRefused(t *testing.T) {
	t.Parallel()
	refused(t, newInstance(t), 3, "--insecure-listen", "--listen-mqtt", "0.0.0.0:0")
	refused(t, newInstance(t), 3, "--insecure-listen", "--listen-http", ":0")
}

func TestEndToEndAbsurdFlags(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	refused(t, i, 3, "99999", "--listen-http", "127.0.0.1:99999")
	refused(t, i, 3, "nonsense", "--nonsense")
	refused(t, i, 3, "not there", "--admin-password-file", filepath.Join(i.dir, "not there"))
	refused(t, i, 3, "it is empty", "--admin-password-file", i.write("empty", "\n"))
	refused(t, i, 3, "fewer than", "--admin-password-file", i.write("short", "abc\n"))
	if _, err := os.Stat(filepath.Join(i.dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a data directory was made (%v)", err)
	}
}

func TestEndToEndDataDirectoryOfSomethingElse(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.write("letter.txt", "to my aunt")
	refused(t, i, 3, "letter.txt", "--data", i.dir)
}

func TestEndToEndDataDirectoryNotWritable(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	refused(t, i, 3, "file", "--data", filepath.Join(i.write("file", ""), "data"))
}

func TestEndToEndDataDirectoryOfANewerVersion(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	i.stop()
	path := filepath.Join(i.dir, "data", "format.json")
	if err := os.WriteFile(path, []byte(`{"major": 99, "minor": 0, "written_by": "9.9.9"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, i, 3, "9.9.9")
}

func TestEndToEndDataDirectoryInUse(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	other := newInstance(t)
	refused(t, other, 1, "process", "--data", filepath.Join(i.dir, "data"))
	i.stop()
}

func TestEndToEndBrokenDatabase(t *testing.T) {
	t.Parallel()
	i, _, _ := quickstart(t)
	i.stop()
	path := filepath.Join(i.dir, "data", "control.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	garbage := append([]byte("this is no database, and long enough to be sure"), whole[40:]...)
	if err := os.WriteFile(path, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, i, 3, "control.db")
	if kept, err := os.ReadFile(path); err != nil || string(kept) != string(garbage) {
		t.Errorf("the broken database was touched (%v)", err)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	i.up()
	i.state("quickstart", "enabled")
	i.stop()
}

// TestEndToEndUpRunsWithoutAContextFile: what only commands need never keeps a plant from running.
func TestEndToEndUpRunsWithoutAContextFile(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.write("config.yaml", "this: [is no context file")
	i.up()
	if !strings.Contains(i.log.String(), "not written") {
		t.Errorf("up says nothing of the context:\n%s", i.log)
	}
	i.stop()
}
