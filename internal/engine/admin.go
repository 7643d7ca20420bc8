package engine

import (
	"context"
	"path"
	"strings"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// GivenAdmin is the label of the password that was last given for the admin: another one each time
// that it is written, and no secret. It is empty where none was given, where somebody else has
// changed the password since, or where control is not there to say. It is good for callers that
// do not have the password to compare with.
func (e *Engine) GivenAdmin(ctx context.Context, instance string) (string, error) {
	label, err := e.readFile(ctx, recordName(instance), path.Join(render.SecretsDir, render.SecretAdminLabel))
	if err != nil {
		return "", missing(err)
	}
	applied, err := e.readFile(ctx, instance+"-"+spec.PartControl+"-1", path.Join(render.DataDir, adminAppliedFile))
	if err != nil || strings.TrimSpace(applied) != strings.TrimSpace(label) {
		return "", missing(err)
	}
	return strings.TrimSpace(label), nil
}

// missing takes what is not there for nothing to tell.
func missing(err error) error {
	if spec.KindOf(err) == spec.NotFound {
		return nil
	}
	return err
}
