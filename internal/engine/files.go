package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// backupSuffix marks what somebody edited and we replaced.
const backupSuffix = ".bak"

// recallFromFile takes what was last applied from the compose file where the engine has
// forgotten it, as after `docker compose down`.
func (e *Engine) recallFromFile(p *Pass, given spec.Instance, defaults spec.InstanceDefaults) {
	dir := given.InstallPath
	if dir == "" {
		dir = defaults.InstallPath
	}
	if p.actual.Recorded || dir == "" {
		return
	}
	text, err := os.ReadFile(filepath.Join(dir, render.ComposeFile))
	if err != nil {
		return // there is none, or it is not ours to read: observeFiles says so
	}
	if applied := render.Applied(text); applied != nil && applied.Name == p.actual.Name {
		p.actual.Spec = applied
	}
}

// observeFiles reads the files that shall be there. A file of that name that is not ours is
// an error: it is not replaced.
func (e *Engine) observeFiles(p *Pass) error {
	if p.Instance.State != spec.Started && p.Instance.State != spec.Absent {
		return nil
	}
	for _, want := range p.desired.Files {
		have := plan.File{Name: want.Name, Path: want.Path}
		text, err := os.ReadFile(want.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return spec.Errorf(spec.Forbidden, "cannot read %q: %w", want.Path, err).
				WithHint("run as its owner (in a playbook: become: true)")
		default:
			have.Content, have.Mode = append([]byte{}, text...), modeOf(want)
		}
		p.actual.Files = append(p.actual.Files, have)
	}
	err := notOurs(p)
	if p.Instance.State != spec.Absent {
		return err
	}
	p.actual.Files = slices.DeleteFunc(p.actual.Files, func(f plan.File) bool { return err != nil || !render.Ours(f.Content) }) // they stay where they are
	return nil
}

func modeOf(f plan.File) uint32 {
	info, err := os.Stat(f.Path)
	if err != nil || runtime.GOOS == "windows" {
		return f.Mode
	}
	return uint32(info.Mode().Perm())
}

// notOurs refuses to replace the files of something else.
func notOurs(p *Pass) error {
	known := p.actual.Exists()
	for _, f := range p.actual.Files {
		if f.Name != render.ComposeFile || f.Content == nil {
			continue
		}
		applied := render.Applied(f.Content)
		if applied != nil && applied.Name != p.actual.Name {
			return spec.Errorf(spec.Conflict, "cannot use install_path %q: it is that of instance %q", filepath.Dir(f.Path), applied.Name).
				WithHint("give each instance an install_path of its own")
		}
		known = known || applied != nil
	}
	for _, f := range p.actual.Files {
		if f.Content != nil && !known && !render.Ours(f.Content) {
			return spec.Errorf(spec.Conflict, "cannot use install_path %q: the %s there is not Millwright's", filepath.Dir(f.Path), f.Name).
				WithHint("choose another install_path, or move that file away")
		}
	}
	return nil
}

// staged are files that are written, and not yet in their places, by their names.
type staged map[string]*atomicfile.File

// stage writes the files that the plan changes beside their places, so that a full disk is
// noticed before anything is touched.
func stage(p *Pass) (staged, error) {
	s := staged{}
	for _, f := range p.desired.Files {
		if !changed(p.Plan, f.Name) || p.Instance.State != spec.Started {
			continue
		}
		if err := s.prepare(p, f); err != nil {
			return nil, errors.Join(notWritten(f.Path, err), s.abort())
		}
	}
	return s, nil
}

func changed(p plan.Plan, file string) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		kind, name := childOf(s.Address)
		return kind == plan.KindFile && name == file
	})
}

// prepare writes a file, and what it replaces if somebody edited that.
func (s staged) prepare(p *Pass, f plan.File) error {
	if old := p.actualFile(f.Name); old != nil && old.Content != nil && edited(p, f.Name) {
		kept := plan.File{Name: f.Name + backupSuffix, Path: f.Path + backupSuffix, Content: old.Content, Mode: old.Mode}
		if err := s.write(kept); err != nil {
			return err
		}
	}
	return s.write(f)
}

func (s staged) write(f plan.File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	file, err := atomicfile.Create(f.Path)
	if err != nil {
		return err
	}
	s[f.Name] = file
	if _, err := file.Write(f.Content); err != nil {
		return err
	}
	return errors.Join(file.Chmod(os.FileMode(f.Mode)), file.Sync())
}

func (s staged) abort() error {
	var failed error
	for name, f := range s {
		failed = errors.Join(failed, f.Abort())
		delete(s, name)
	}
	return failed
}

// commit puts a staged file in its place, and before that beside it what somebody edited.
func (s staged) commit(p *Pass, name string) error {
	for _, name := range []string{name + backupSuffix, name} {
		f, ok := s[name]
		if !ok && strings.HasSuffix(name, backupSuffix) {
			continue
		}
		if !ok {
			return spec.Errorf(spec.Internal, "cannot write %q: it was not prepared", name)
		}
		delete(s, name)
		if err := f.Commit(); err != nil {
			return notWritten(pathOf(p, strings.TrimSuffix(name, backupSuffix)), err)
		}
	}
	return nil
}

func pathOf(p *Pass, name string) string {
	i := slices.IndexFunc(p.desired.Files, func(f plan.File) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return p.desired.Files[i].Path
}

func (p *Pass) actualFile(name string) *plan.File {
	i := slices.IndexFunc(p.actual.Files, func(f plan.File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &p.actual.Files[i]
}

// edited reports whether the plan says that the file was changed by somebody else.
func edited(p *Pass, file string) bool {
	return slices.ContainsFunc(p.Plan.Steps, func(s plan.Step) bool {
		kind, name := childOf(s.Address)
		return kind == plan.KindFile && name == file && s.Cause != plan.CauseSettings
	})
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return spec.Errorf(spec.Unavailable, "cannot remove %q: %w", path, err)
	}
	return nil
}

func notWritten(path string, err error) error {
	return spec.Errorf(spec.Unavailable, "cannot write %q: %w", path, err).
		WithHint("free space or rights there, or choose another install_path; then apply again")
}
