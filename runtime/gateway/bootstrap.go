package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// The files that control in a container leaves in its volume for whoever deploys it, who
// reads them through the engine.
const (
	passwordFile       = "admin-password"
	tokenFile          = "admin-token"
	publicCertificate  = "pki/ca.crt"
	deployerTokenLife  = 90 * 24 * time.Hour
	deployerTokenName  = "deployer"
	firstAdmin         = "admin"
	largestAdminSecret = 4096
)

// Bootstrap makes the first admin, with the password in the file or, without one, a generated one,
// which it keeps in the data directory. There it also puts a token for the deployer, a new
// one where the last is not in force any more, and the authority's certificate. Nothing is printed.
func (g *Gateway) Bootstrap(ctx context.Context, givenPassword string) error {
	if g.control == nil {
		return nil
	}
	if !g.control.HasUsers() {
		password, err := g.firstPassword(givenPassword)
		if err != nil {
			return err
		}
		if _, err := g.control.Bootstrap(ctx, password); err != nil {
			return err
		}
	}
	if err := atomicfile.Write(g.dir.file(publicCertificate), g.authority.PEM(), 0o600); err != nil {
		return fmt.Errorf("cannot keep the authority's certificate: %w", err)
	}
	kept, err := os.ReadFile(g.dir.file(tokenFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the deployer's token: %w", err)
	}
	if err == nil && g.control.TokenValid(ctx, strings.TrimSpace(string(kept))) {
		return nil
	}
	token, err := g.control.IssueToken(ctx, firstAdmin, deployerTokenName, deployerTokenLife)
	if spec.KindOf(err) == spec.NotFound {
		g.log.Warn("there is no user admin: the deployer gets no token")
		return nil
	}
	if err != nil {
		return err
	}
	if err := atomicfile.Write(g.dir.file(tokenFile), []byte(token.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot keep the deployer's token: %w", err)
	}
	return nil
}

// firstPassword is on disk before the account is made: a start that ended between the two has
// left one, which is used.
func (g *Gateway) firstPassword(given string) (string, error) {
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
