package main

import (
	"bytes"
	"strings"
	"testing"
)

// What cannot work is refused, with the reason, before anything is started.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"run --size 8", "cannot send messages of 8 bytes"},
		{"run --protocol nats --qos 1", "cannot speak nats with QoS 1"},
		{"run --password-file /does/not/exist", "cannot read the password"},
		{"run --ca-path /does/not/exist", "cannot read the certificates"},
		{"run surplus", "unknown command"},
		{"compare --only (", "cannot choose loads"},
		{"compare --nats-server /does/not/exist", "make bench-broker"},
		{"serve --data x", "cannot serve without"},
	} {
		t.Setenv("MILLWRIGHT_LOAD_PASSWORD", "")
		root := newRootCommand()
		root.SetArgs(strings.Fields(c.args))
		root.SetOut(&bytes.Buffer{})
		root.SetErr(&bytes.Buffer{})
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.want)
		}
	}
}
