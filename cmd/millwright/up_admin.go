package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
)

// adminPasswordFile holds the generated password of the first admin of a data directory.
func adminPasswordFile(dataDir string) string { return filepath.Join(dataDir, "admin-password") }

// password is one for the first admin; empty: one is to be generated. A bad one is of no
// account once there is an admin: its file may be gone by then.
type password struct {
	text string
	bad  error
}

// chosenPassword reads --admin-password-file, once: it may be a pipe. One that cannot be
// used is refused before a data directory is made.
func (o *upOptions) chosenPassword() (password, error) {
	if o.adminPasswordFile == "" {
		return password{}, nil
	}
	p := readPassword(o.adminPasswordFile)
	if p.bad != nil && !gateway.Exists(o.DataDir) {
		return p, p.bad
	}
	return p, nil
}

func readPassword(path string) password {
	content, err := os.ReadFile(path)
	if err != nil {
		return password{bad: unreadable(path, err).WithHint("--admin-password-file names a file that holds the first admin's password")}
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return password{bad: spec.Errorf(spec.Invalid, "cannot take the admin's password from %q: it is empty", path)}
	}
	if err := (spec.User{Username: adminUser, Password: &text}).Check(); err != nil {
		return password{bad: spec.Errorf(spec.Invalid, "cannot take the admin's password from %q: %w", path, err)}
	}
	return password{text: text}
}

// bootstrap makes the first admin and returns where the password is; where there are users,
// it does nothing. A generated password is kept in the data directory, never printed.
func bootstrap(ctx context.Context, g *gateway.Gateway, opts *upOptions, chosen password) (passwordFile string, err error) {
	if g.Control().HasUsers() {
		return "", nil
	}
	if chosen.bad != nil {
		return "", chosen.bad
	}
	passwordFile = opts.adminPasswordFile
	if passwordFile == "" {
		passwordFile = adminPasswordFile(opts.DataDir)
		if chosen.text, err = keptPassword(passwordFile); err != nil {
			return "", err
		}
	}
	_, err = g.Control().Bootstrap(ctx, chosen.text)
	return passwordFile, err
}

// keptPassword generates a password and has it on disk before the account is made. A start
// that ended between the two has left one, which is used.
func keptPassword(path string) (string, error) {
	kept, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimRight(string(kept), "\r\n"), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read the admin's password: %w", err)
	}
	text := credential.Generate("")
	if err := atomicfile.Write(path, []byte(text+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep the admin's password: %w", err)
	}
	return text, nil
}
