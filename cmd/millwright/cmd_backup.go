package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/spec"
)

type backupOptions struct {
	engine   engineOptions
	instance string
	out      string
	list     bool
	output   outputOption
}

func newBackupCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &backupOptions{}
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up an instance on Docker: its data, its secrets, its settings",
		Long: `Writes all that an instance on a Docker engine keeps, and what was applied, into one file. Its
containers are paused while they are copied; clients stay connected, and nothing is lost.

Without --out the backup goes where the instance keeps its backups: the folder of its option
backup_path, else the volume NAME_backup of the engine. There, and in a folder that --out names,
the newest three are kept. The backup holds the instance's secrets: its file is readable for its
owner alone, and whoever has it can be the instance.`,
		Example: "  millwright backup --out press.tar.gz\n  millwright backup --instance press --list",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runBackup(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *backupOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.instance, "instance", spec.DefaultInstance, "`name` of the instance")
	f.StringVar(&o.out, "out", "", "`file` or folder to write to; \"-\" is standard output")
	f.BoolVar(&o.list, "list", false, "only list the backups that are kept of the instance")
	o.engine.addFlags(f)
	o.output.addFlag(f, "text", "json")
}

func runBackup(ctx context.Context, opts *backupOptions, global *globalOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	e, err := opts.engine.open(ctx, s, s.logger(global, levelWarn))
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // nothing is left to be done on it
	if opts.list {
		list, err := e.Backups(ctx, opts.instance)
		if err != nil {
			return err
		}
		return opts.printList(s.out, list)
	}
	saved, err := e.Backup(ctx, opts.target(s))
	if err != nil {
		return err
	}
	to := s.out
	if opts.out == "-" {
		to = s.err
	}
	return opts.output.print(to, saved, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "Backed up instance %q to %s: %s. It stood still for %.2f s.\n", saved.Instance, orDash(saved.Where()), bytesText(saved.Size), saved.Held)
		return err
	})
}

func (o *backupOptions) check() error {
	if err := o.output.check(); err != nil {
		return err
	}
	if o.list && o.out != "" {
		return spec.Errorf(spec.Invalid, "cannot use --list and --out together")
	}
	return spec.CheckInstanceName(o.instance)
}

// target is where the flags want the backup.
func (o *backupOptions) target(s *streams) engine.BackupOptions {
	b := engine.BackupOptions{Instance: o.instance, Version: version}
	info, err := os.Stat(o.out)
	switch {
	case o.out == "-":
		b.Writer = s.out
	case err == nil && info.IsDir():
		b.Dir = o.out
	default:
		b.File = o.out
	}
	return b
}

func (o *backupOptions) printList(w io.Writer, list []engine.Saved) error {
	if list == nil {
		list = []engine.Saved{}
	}
	return o.output.print(w, list, func(w io.Writer) error {
		rows := make([][]string, 0, len(list))
		for _, b := range list {
			rows = append(rows, []string{b.Name, moment(b.Time), orDash(b.Version), bytesText(b.Size), b.Where()})
		}
		return table(w, "NAME TIME VERSION SIZE WHERE", rows)
	})
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB"}
	size, unit := float64(n), 0
	for size >= 1000 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d %s", n, units[0])
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
