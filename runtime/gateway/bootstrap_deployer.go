package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// The files that control leaves in its data directory for whoever deploys it, who reads them
// there, out of a container through the engine.
const (
	tokenFile         = "admin-token"            // the deployer's token
	appliedFile       = "admin-password.applied" // the label of the given admin's password while it is in force; else empty
	publicCertificate = "pki/ca.crt"             // of the instance's own authority
)

// The deployer's token.
const (
	deployerTokenName = "deployer"
	deployerTokenLife = 90 * 24 * time.Hour
	// deployerTokenLeft is how long the token is good for at least, whenever it is read.
	deployerTokenLeft = deployerTokenLife / 3
	// deployerRetry is how long after a failure the files are looked at again.
	deployerRetry = time.Minute
)

// deployer keeps what whoever deploys the instance reads in the data directory true: a token that is
// in force, and which given password the admin has. It is not safe for use from several goroutines.
type deployer struct {
	control *control.Control
	dir     *dataDir
	log     *slog.Logger
	token   string // the last one, which a full disk may have kept out of the file
	without bool   // it was told that there is none
}

// Run looks whenever somebody's access has moved, and before the token ends, until ctx ends.
func (d *deployer) Run(ctx context.Context) error {
	for {
		moved := d.control.AccessMoved()
		rest, err := d.refresh(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("what the deployer reads is not up to date; it is tried again", "error", err, "retry_in", deployerRetry.String())
			moved, rest = nil, deployerRetry
		}
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-moved:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// refresh brings the files up to date, and returns when they are to be looked at again.
func (d *deployer) refresh(ctx context.Context) (time.Duration, error) {
	label, err := d.control.AdminEnforced(ctx)
	if err == nil {
		err = d.write(appliedFile, label)
	}
	rest, tokenErr := d.refreshToken(ctx)
	return rest, errors.Join(err, tokenErr)
}

// refreshToken makes a new token where the one in the file is not in force, or not for long
// any more. The one before stays good until its own end, for those who have copied it.
func (d *deployer) refreshToken(ctx context.Context) (time.Duration, error) {
	if d.token == "" {
		kept, err := d.read(tokenFile)
		if err != nil {
			return 0, err
		}
		d.token = kept
	}
	expires, err := d.control.TokenExpires(ctx, d.token)
	if err != nil && spec.KindOf(err) != spec.Unauthorised {
		return 0, err
	}
	if left := time.Until(expires) - deployerTokenLeft; err == nil && left > 0 {
		return left, d.write(tokenFile, d.token)
	}
	if !d.control.MayHoldTokens(firstAdmin) {
		if !d.without {
			d.log.Warn("there is no user admin who may log in by token: the deployer gets none")
		}
		d.without = true
		return deployerTokenLife, nil
	}
	d.without = false
	token, err := d.control.IssueToken(ctx, firstAdmin, deployerTokenName, deployerTokenLife)
	if err != nil {
		return 0, err
	}
	d.log.Info("the deployer has a new token", "file", d.dir.file(tokenFile), "expires", token.ExpiresAt)
	d.token = token.Token
	return deployerTokenLife - deployerTokenLeft, d.write(tokenFile, d.token)
}

// read returns a file's line; "" where there is no file.
func (d *deployer) read(name string) (string, error) {
	text, err := os.ReadFile(d.dir.file(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read what the deployer has: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// write replaces a file's line, if it is another one.
func (d *deployer) write(name, line string) error {
	if kept, err := d.read(name); err == nil && kept == line {
		return nil
	}
	if err := atomicfile.Write(d.dir.file(name), []byte(line+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot keep what the deployer reads: %w", err)
	}
	return nil
}
