package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

type restoreOptions struct {
	engine       engineOptions
	file         string
	stored       string
	instance     string
	installPath  string
	imageArchive string
	replace      bool
	yes          bool
	output       outputOption
}

func newRestoreCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &restoreOptions{}
	cmd := &cobra.Command{
		Use:   "restore FILE | --stored NAME",
		Short: "Bring an instance up from a backup",
		Long: `Makes an instance from a backup, with the settings that it had, asks before that, and starts it.
FILE "-" is standard input. --stored takes one of the backups that 'millwright backup --list'
shows, or the "latest". A backup that is damaged, cut off, or of a newer format is refused before
anything is touched.

An instance that is there is replaced with --replace alone. It is stopped and backed up first; if
restoring fails it is put back.

Messages that came after the backup are gone, and those that clients fetched after it come again.
Users, passwords and tokens are those of then.`,
		Example: "  millwright restore press.tar.gz\n  millwright restore --stored latest --instance press --replace --yes",
		Args:    between(0, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				opts.file = args[0]
			}
			return runRestore(cmd.Context(), opts, global, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *restoreOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.stored, "stored", "", "`name` of a backup that the instance keeps, or latest")
	f.StringVar(&o.instance, "instance", "", "`name` of the instance (default: the one in the backup)")
	f.StringVar(&o.installPath, "install-path", "", "`folder` for its compose file (default: the one in the backup)")
	f.StringVar(&o.imageArchive, "image-archive", "", "`file` with its image, where the engine lacks it")
	f.BoolVar(&o.replace, "replace", false, "replace the instance that is there")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	o.engine.addFlags(f)
	o.output.addFlag(f, "text", "json")
}

func (o *restoreOptions) check() error {
	if err := o.output.check(); err != nil {
		return err
	}
	if (o.file == "") == (o.stored == "") {
		return spec.Errorf(spec.Invalid, "cannot restore: name either a file, or a backup by --stored")
	}
	if o.file == "-" && !o.yes {
		return spec.Errorf(spec.Invalid, "cannot ask for consent: standard input holds the backup").WithHint("add --yes")
	}
	if o.instance == "" {
		return nil
	}
	return spec.CheckInstanceName(o.instance)
}

// restoredView is what became of a restore, for programs.
type restoredView struct {
	Instance string    `json:"instance"`
	Backup   time.Time `json:"backup"` // when it was made
	URL      string    `json:"url,omitempty"`
	Context  string    `json:"context,omitempty"`
	Before   string    `json:"before,omitempty"` // the backup of what was replaced
	Plan     plan.Plan `json:"plan"`
}

func runRestore(ctx context.Context, opts *restoreOptions, global *globalOptions, s *streams) (err error) {
	if err := opts.check(); err != nil {
		return err
	}
	d, err := deployer.Open(ctx, deployer.Options{DockerHost: opts.engine.host, Version: version, Getenv: s.getenv, Log: s.logger(global, levelWarn)})
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // nothing is left to be done on it
	a, err := opts.open(ctx, d, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	name := opts.instance
	if name == "" {
		name = a.Instance
	}
	s.note("Backup of instance %q, made %s by version %s: %s in %s.\n", a.Instance, moment(a.Time), a.Version, bytesText(a.Bytes), count(len(a.Volumes), "volume"))
	if err := confirm(ctx, s, opts.yes, opts.question(name)); err != nil {
		return err
	}
	done, err := d.Restore(ctx, a, deployer.RestoreOptions{
		Instance: spec.Instance{Name: name, InstallPath: opts.installPath, ImageArchive: opts.imageArchive}, Replace: opts.replace,
		Report: opts.progress(s, global),
	})
	if err != nil {
		return err
	}
	view := restoredView{Instance: name, Backup: a.Time, URL: done.URL, Context: done.Context, Before: done.BackupFile, Plan: done.Plan}
	return opts.output.print(s.out, view, view.write)
}

// progress tells each step as it is done: they may take long.
func (o *restoreOptions) progress(s *streams, global *globalOptions) func(plan.Step) {
	if o.output.format != "text" {
		return nil
	}
	return application{streams: s, global: global}.printStep
}

func (v restoredView) write(w io.Writer) error {
	text := fmt.Sprintf("Restored instance %q", v.Instance)
	if v.URL != "" {
		text += fmt.Sprintf(": it is at %s (context %q)", v.URL, v.Context)
	}
	text += ".\n"
	if v.Before != "" {
		text += fmt.Sprintf("What was there before is in the backup %s.\n", v.Before)
	}
	_, err := io.WriteString(w, text)
	return err
}

func (o *restoreOptions) open(ctx context.Context, d *deployer.Deployer, s *streams) (*engine.Archive, error) {
	switch {
	case o.file == "-":
		return engine.ReadBackup(s.in)
	case o.file != "":
		return engine.OpenBackup(o.file)
	case o.instance == "":
		return d.Engine().StoredBackup(ctx, spec.DefaultInstance, o.stored)
	}
	return d.Engine().StoredBackup(ctx, o.instance, o.stored)
}

func (o *restoreOptions) question(name string) string {
	if o.replace {
		return fmt.Sprintf("Replace instance %q by it, if there is one, and start it?", name)
	}
	return fmt.Sprintf("Restore it as instance %q, and start it?", name)
}
