package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/client"
)

// TestEndToEndTwoInstances starts two of one user: neither takes the other's password or context.
func TestEndToEndTwoInstances(t *testing.T) {
	t.Parallel()
	first := newInstance(t)
	first.up()
	kept := first.read(adminPasswordFile(filepath.Join(first.dir, "data")))
	second := &instance{t: t, dir: first.dir, http: freePort(t), mqtt: freePort(t)}
	data := t.TempDir()
	_, port := splitAddress(t, second.http)
	own := contextUp + "-" + port
	for range 2 { // the second start finds its context again
		second.up("--data", data)
		contexts, _, err := client.LoadContexts(filepath.Join(first.dir, "config.yaml"))
		if err != nil || contexts.Current != contextUp || len(contexts.Contexts) != 2 ||
			contexts.Contexts[contextUp].URL != "http://"+first.http || contexts.Contexts[own].URL != "http://"+second.http {
			t.Errorf("contexts: %+v, %v", contexts, err)
		}
		if !strings.Contains(second.log.String(), own) || !strings.Contains(second.log.String(), "is that of http://"+first.http) {
			t.Errorf("it says:\n%s", second.log)
		}
		first.must("get", "services")
		first.must("get", "services", "--context", own)
		second.stop()
	}
	if now := first.read(adminPasswordFile(filepath.Join(first.dir, "data"))); now != kept {
		t.Error("the first one's password changed")
	}
	path := adminPasswordFile(data)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || first.read(path) == kept {
		t.Errorf("the second one's password: %v, %v", info, err)
	}
	first.stop()
	// The context of one that runs no longer is free to take.
	third := &instance{t: t, dir: first.dir, http: freePort(t), mqtt: freePort(t)}
	third.up("--data", t.TempDir())
	third.must("get", "services", "--url", "http://"+third.http)
	third.stop()
}

// TestEndToEndPasswordOfAnInterruptedStart finds a password that was kept before its account was made.
func TestEndToEndPasswordOfAnInterruptedStart(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	i.stop()
	data := filepath.Join(i.dir, "data")
	for _, name := range []string{"control.db", "control.db-wal", "control.db-shm"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	kept := i.read(adminPasswordFile(data))
	i.up()
	i.must("login", "--url", "http://"+i.http, "--username", adminUser, "--password-file", adminPasswordFile(data), "--context", "again")
	if i.read(adminPasswordFile(data)) != kept {
		t.Error("the password was replaced")
	}
	i.stop()
	// Once there is an admin, the file of the first password may be gone.
	i.up("--admin-password-file", filepath.Join(i.dir, "gone"))
	i.stop()
}

// TestEndToEndWrongPort asks the broker and, with TLS, the plain API: both answers help.
func TestEndToEndWrongPort(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	i.up()
	for address, hint := range map[string]string{
		"http://" + i.mqtt:  "if it is the MQTT broker",
		"https://" + i.mqtt: "if it is the MQTT broker",
		"https://" + i.http: "try http://" + i.http,
	} {
		if _, stderr, code := i.run("get", "services", "--url", address); code != 1 || !strings.Contains(stderr, hint) {
			t.Errorf("%s: exit %d: %s", address, code, stderr)
		}
	}
	i.stop()
}
