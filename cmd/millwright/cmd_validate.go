package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/report"
	"github.com/millwright/millwright/internal/spec"
)

type validateOptions struct {
	paths  []string
	output outputOption
}

func newValidateCommand(s *streams) *cobra.Command {
	opts := &validateOptions{}
	cmd := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Check commissioning and stack files, without an instance",
		Long: `Checks files, and in folders every .yml and .yaml file that is a commissioning or stack file, and
prints each mistake with file, line, column, what is wrong and what to do. PATH "-" is standard
input.

Exit code 3 if there is an error; warnings alone give 0.`,
		Example: "  millwright validate press.yml\n  millwright validate -o gitlab plants/ > gl-code-quality-report.json",
		Args:    between(1, -1, "PATH..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.paths = args
			return runValidate(cmd.Context(), opts, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *validateOptions) addFlags(cmd *cobra.Command) {
	o.output.addFlag(cmd.Flags(), "text", "json", "sarif", "junit", "gitlab")
}

func runValidate(ctx context.Context, opts *validateOptions, s *streams) error {
	if err := opts.output.check(); err != nil {
		return err
	}
	files, err := find(opts.paths)
	if err != nil {
		return err
	}
	read := newSources(s)
	var found []spec.Diagnostic
	for _, file := range files {
		text, err := read.file(ctx, file)
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil:
			found = append(found, spec.Diagnostic{
				Position: spec.Position{File: file}, Severity: spec.SeverityError, Code: "unreadable", Message: err.Error(),
			})
		default:
			found = append(found, checkFile(ctx, read, file, text)...)
		}
	}
	found = unique(found)
	if err := opts.print(s.out, files, found); err != nil {
		return err
	}
	if spec.HasErrors(found) {
		return spec.Errorf(spec.Invalid, "%s in %s", count(errorsIn(found), "error"), count(len(files), "file"))
	}
	return nil
}

func (o *validateOptions) print(w io.Writer, files []string, found []spec.Diagnostic) error {
	switch o.output.format {
	case "json":
		return report.JSON(w, files, found)
	case "sarif":
		return report.SARIF(w, files, found)
	case "junit":
		return report.JUnit(w, files, found)
	case "gitlab":
		return report.GitLab(w, files, found)
	}
	return report.Text(w, files, found)
}

// unique sorts, and drops what a file said twice because a stack names it too.
func unique(found []spec.Diagnostic) []spec.Diagnostic {
	spec.SortDiagnostics(found)
	return slices.Compact(found)
}

func errorsIn(found []spec.Diagnostic) (n int) {
	for _, d := range found {
		if d.Severity == spec.SeverityError {
			n++
		}
	}
	return n
}

// find lists the files that are named, and those of ours in the folders that are named. What
// cannot be looked into is listed too: reading it says why.
func find(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		if info, err := os.Stat(path); path != "-" && err == nil && info.IsDir() {
			files = append(files, findBelow(path)...)
		} else {
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return nil, spec.Errorf(spec.Invalid, "cannot find a commissioning or stack file in %s", strings.Join(paths, ", ")).
			WithHint("they are .yml or .yaml files with the key resources: or stack:")
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// isOurs tells our files in a folder from other YAML.
func isOurs(text []byte) bool {
	keys := commissioning.TopKeys(text)
	return slices.Contains(keys, "resources") || slices.Contains(keys, "stack")
}

// findBelow lists our files in a folder and those below it, hidden ones apart, and what
// cannot be read of them.
func findBelow(dir string) []string {
	var files []string
	visit := func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			files = append(files, path)
			return nil
		}
		if path != dir && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		extension := strings.ToLower(filepath.Ext(path))
		if entry.IsDir() || extension != ".yml" && extension != ".yaml" {
			return nil
		}
		if text, err := readFile(path); err != nil || isOurs(text) {
			files = append(files, path)
		}
		return nil
	}
	_ = filepath.WalkDir(dir, visit) // visit returns no error
	return files
}
