package deployer

import (
	"context"
	"errors"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// RestoreOptions say as what a backup is restored.
type RestoreOptions struct {
	Instance spec.Instance // what shall differ from what was applied when the backup was made
	Replace  bool          // an instance that is there; Outcome.BackupFile is then what was there
	Report   func(plan.Step)
}

// Restore brings an instance up from a backup (see engine.Restore), and keeps how it is reached.
// A password that lies beside the context file stays as it is: it may be the backup's, or not.
func (d *Deployer) Restore(ctx context.Context, a *engine.Archive, o RestoreOptions) (Outcome, error) {
	done, err := d.engine.Restore(ctx, a, engine.RestoreOptions{
		Instance: o.Instance, Defaults: d.defaults(), Replace: o.Replace, Version: d.options.Version, Report: o.Report,
	})
	if err != nil {
		return Outcome{Plan: done.Plan, BackupFile: where(done.Before)}, err
	}
	out, err := d.outcome(ctx, done.Pass, done.Plan)
	out.BackupFile = where(done.Before)
	if err != nil || out.token == "" || out.URL == "" {
		return out, err
	}
	files, err := d.files(out.Context)
	if err != nil {
		return out, err
	}
	return out, errors.Join(files.keepContext(&out), files.keepAuthority(&out))
}

func where(saved *engine.Saved) string {
	if saved == nil {
		return ""
	}
	return saved.Where()
}
