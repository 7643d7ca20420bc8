package engine

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// Whatever call to the engine was the last one of a restore that was killed, the next pass never
// starts the instance on half of its data, nor makes an empty one; another restore brings it back.
func TestForeignCutRestore(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	file := filepath.Join(t.TempDir(), "backup.tar.gz")
	p.keep("restored")
	p.backup(BackupOptions{File: file})
	stride, refused := 9, 0
	if *everyCut {
		stride = 1
	}
	for changes := 2; ; changes += stride {
		p.keep("before")
		a := openArchive(t, file)
		_, err := cut(t, e, changes).Restore(t.Context(), a, RestoreOptions{
			Instance: spec.Instance{Name: p.given.Name}, Defaults: testDefaults(), Replace: true, Version: "1.0.0",
		})
		done := err == nil
		if err != nil && !strings.Contains(err.Error(), errCut.Error()) {
			t.Fatalf("after %d changes: %v", changes, err)
		}
		if p.mendRestore(t, a, changes) {
			refused++
		}
		if done {
			t.Logf("%d changes, cut after every %d; the next pass was refused %d times", changes, stride, refused)
			break
		}
	}
	if refused == 0 {
		t.Error("no cut has left half a restore")
	}
}

// mendRestore applies the instance, and where that is refused restores it once more.
func (p *plant) mendRestore(t *testing.T, a *Archive, changes int) (refused bool) {
	t.Helper()
	pass := p.plan()
	_, err := p.engine.Apply(t.Context(), pass, nil)
	if refused = err != nil; refused {
		if spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "was being restored, and that was broken off") {
			t.Fatalf("after %d changes: %v", changes, err)
		}
		absent := p.plan(func(i *spec.Instance) { i.State = spec.Absent })
		if strings.Contains(absent.Plan.String(), markName(p.given.Name)) {
			t.Errorf("what says that the volumes are not whole goes without them:\n%s", absent.Plan)
		}
		p.restore(a, true)
	}
	var kept []string
	for _, part := range []string{"control", "broker", "mapper"} {
		kept = append(kept, p.get(part, "state"))
	}
	if one := slices.Compact(slices.Clone(kept)); len(one) != 1 || one[0] != "restored" && (refused || one[0] != "before") {
		t.Fatalf("after %d changes the parts have %q; refused: %v\n%s", changes, kept, refused, pass.Plan)
	}
	p.empty()
	return refused
}

// keep puts the same text into each part's volume.
func (p *plant) keep(text string) {
	for _, part := range []string{"control", "broker", "mapper"} {
		p.put(part, "state", text)
	}
}

// A mark of a restore goes with the volumes.
func TestForeignRestoreMarkGoes(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	r := &restoration{Engine: e, options: RestoreOptions{Instance: spec.Instance{Name: p.given.Name}}, archive: &Archive{name: "x.tar.gz"}}
	image := p.plan().actual.Containers[0].ImageID
	if err := errors.Join(r.mark(t.Context(), image), r.mark(t.Context(), image)); err != nil {
		t.Fatal(err)
	}
	has(t, p.plan().Plan.String(), "the backup x.tar.gz was being restored")
	p.remove()
	if after := p.plan(); after.actual.restoring != "" {
		t.Error("the mark is still there")
	}
}
