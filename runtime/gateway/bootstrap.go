package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

const (
	passwordFile       = "admin-password"
	firstAdmin         = "admin"
	largestAdminSecret = 4096
	// labelSuffix names the file beside a given password that makes it the admin's, at whatever
	// start. It holds a label, any text, that is another one whenever the password is to be set.
	labelSuffix = ".label"
)

// Bootstrap makes the first admin, with the password in the file or, without one, a generated one,
// which it keeps in the data directory. Later the file's password is the admin's only where a
// label beside it says so (see labelSuffix), once for each label. It also leaves in the data
// directory what whoever deploys reads there. Nothing is printed.
func (g *Gateway) Bootstrap(ctx context.Context, givenPassword string) error {
	if g.control == nil {
		return nil
	}
	if err := g.admit(ctx, givenPassword); err != nil {
		return err
	}
	if err := atomicfile.Write(g.dir.file(publicCertificate), g.authority.PEM(), 0o600); err != nil {
		return fmt.Errorf("cannot keep the authority's certificate: %w", err)
	}
	g.deployer = &deployer{control: g.control, dir: g.dir, log: g.log.With("part", "deployer")}
	_, err := g.deployer.refresh(ctx)
	return err
}

// admit makes the first admin, or sets the password of the one that there is.
func (g *Gateway) admit(ctx context.Context, given string) error {
	label, err := labelOf(given)
	if err != nil || label == "" && g.control.HasUsers() {
		return err
	}
	password, err := g.adminPassword(given)
	if err != nil {
		return err
	}
	if label != "" {
		_, err = g.control.EnforceAdmin(ctx, password, label)
	} else {
		_, err = g.control.Bootstrap(ctx, password)
	}
	return err
}

// labelOf returns the label beside a given password; "" where there is none.
func labelOf(given string) (string, error) {
	if given == "" {
		return "", nil
	}
	text, err := os.ReadFile(given + labelSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", spec.Errorf(spec.Invalid, "cannot read the label of the admin's password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// adminPassword reads the given password. A generated one is on disk before the account is made:
// a start that ended between the two has left one, which is used.
func (g *Gateway) adminPassword(given string) (string, error) {
	path := given
	if path == "" {
		path = g.dir.file(passwordFile)
		_, err := g.dir.readOrMake(passwordFile, func() ([]byte, error) { return []byte(credential.Generate("") + "\n"), nil })
		if err != nil {
			return "", err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", spec.Errorf(spec.Invalid, "cannot read the admin's password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || len(password) > largestAdminSecret {
		return "", spec.Errorf(spec.Invalid, "cannot take the admin's password from %q: it has %d bytes", path, len(password))
	}
	return password, nil
}
