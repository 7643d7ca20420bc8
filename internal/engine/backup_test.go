package engine

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// put writes a file into a volume of the instance, as its user would.
func (p *plant) put(part, name, content string) {
	p.t.Helper()
	err := p.engine.upload(p.t.Context(), p.container(part), render.DataDir, func(w *tar.Writer) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640, Size: int64(len(content)), Uid: render.UserID, Gid: render.UserID}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(w, content)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// get reads a file of the instance's; "" where there is none.
func (p *plant) get(part, name string) string {
	p.t.Helper()
	text, err := p.engine.readFile(p.t.Context(), p.container(part), path.Join(render.DataDir, name))
	if err != nil && spec.KindOf(err) != spec.NotFound {
		p.t.Fatal(err)
	}
	return text
}

func (p *plant) backup(o BackupOptions) Saved {
	p.t.Helper()
	o.Instance, o.Version = p.given.Name, "1.0.0"
	saved, err := p.engine.Backup(p.t.Context(), o)
	if err != nil {
		p.t.Fatal(err)
	}
	return saved
}

// remove makes the instance absent with all its data.
func (p *plant) remove() {
	p.t.Helper()
	p.apply(func(i *spec.Instance) { i.State, i.DeleteVolumes = spec.Absent, true })
}

func (p *plant) restore(a *Archive, replace bool) Restored {
	p.t.Helper()
	done, err := p.tryRestore(a, replace)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, done.Plan)
	}
	return done
}

func (p *plant) tryRestore(a *Archive, replace bool) (Restored, error) {
	return p.engine.Restore(p.t.Context(), a, RestoreOptions{
		Instance: spec.Instance{Name: p.given.Name}, Defaults: testDefaults(), Replace: replace, Version: "1.0.0",
	})
}

func openArchive(t testing.TB, file string) *Archive {
	t.Helper()
	a, err := OpenBackup(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestForeignBackup(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	p := newPlant(t, e, archive(t, dir, "1.0.0", "well", runtime.GOARCH))
	p.apply()
	p.put("broker", "queue", strings.Repeat("a message\n", 1000))
	file := filepath.Join(dir, "backup.tar.gz")

	t.Run("to a file", func(t *testing.T) {
		p.t = t
		before := p.identities()
		saved := p.backup(BackupOptions{File: file})
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != saved.Size || saved.File != file {
			t.Errorf("got %+v, %v, %v", saved, info, err)
		}
		p.kept(before)
		p.empty()
		t.Logf("%d bytes, the instance stood still for %v s", saved.Size, saved.Held)
	})
	t.Run("nothing is there", func(t *testing.T) {
		p.t = t
		password, err := e.AdminPassword(t.Context(), p.given.Name)
		if err != nil {
			t.Fatal(err)
		}
		p.remove()
		done := p.restore(openArchive(t, file), false)
		if got := p.get("broker", "queue"); len(got) != 10_000 {
			t.Errorf("got %d bytes back", len(got))
		}
		if again, err := e.AdminPassword(t.Context(), p.given.Name); err != nil || again != password {
			t.Errorf("the secrets are others (%v)", err)
		}
		if done.Before != nil || !done.Plan.Applied {
			t.Errorf("got %+v", done)
		}
		p.empty()
		p.ownedAsBefore()
	})
	t.Run("an instance is there", func(t *testing.T) { p.t = t; testReplace(t, p, file) })
	t.Run("in the volume", func(t *testing.T) { p.t = t; testBackupVolume(t, p) })
	t.Run("in a directory", func(t *testing.T) { p.t = t; testBackupDir(t, p) })
}

// ownedAsBefore looks at the volumes' own directories.
func (p *plant) ownedAsBefore() {
	p.t.Helper()
	stream, _, err := p.engine.api.CopyFromContainer(p.t.Context(), p.container("control"), render.DataDir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	marked := false
	for files := tar.NewReader(stream); ; {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		marked = marked || h.Name == "data/"+restoredMark
		if h.Uid != render.UserID || h.Gid != render.UserID || h.Typeflag == tar.TypeDir && h.Mode&0o7777 != 0o700 {
			p.t.Errorf("%s is of %d:%d with mode %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
	}
	if !marked {
		p.t.Error("control is not told that it was restored")
	}
}

func testReplace(t *testing.T, p *plant, file string) {
	p.put("broker", "queue", "what came afterwards")
	a := openArchive(t, file)
	before := p.identities()
	if _, err := p.tryRestore(a, false); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "there is one") {
		t.Errorf("an instance was overwritten: %v", err)
	}
	p.kept(before)
	done := p.restore(a, true)
	p.empty()
	if got := p.get("broker", "queue"); len(got) != 10_000 {
		t.Errorf("got %d bytes back", len(got))
	}
	if done.Before == nil || done.Before.Volume != p.given.Name+"_backup" {
		t.Fatalf("nothing is kept of what was there: %+v", done.Before)
	}
	stored, err := p.engine.StoredBackup(t.Context(), p.given.Name, LatestBackup)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	p.restore(stored, true)
	if got := p.get("broker", "queue"); got != "what came afterwards" {
		t.Errorf("got %q back", got)
	}
}

func testBackupVolume(t *testing.T, p *plant) {
	var names []string
	for n := range 5 {
		p.put("broker", "queue", strings.Repeat("x", n))
		names = append(names, p.backup(BackupOptions{}).Name)
	}
	have, err := p.engine.Backups(t.Context(), p.given.Name)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, b := range have {
		listed = append(listed, b.Name)
	}
	if strings.Join(listed, " ") != strings.Join(names[2:], " ") {
		t.Errorf("kept %v of %v", listed, names)
	}
	stored, err := p.engine.StoredBackup(t.Context(), p.given.Name, names[3])
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	p.restore(stored, true)
	if got := p.get("broker", "queue"); got != "xxx" {
		t.Errorf("got %q back", got)
	}
	p.empty()
	if _, err := p.engine.StoredBackup(t.Context(), p.given.Name, names[0]); spec.KindOf(err) != spec.NotFound {
		t.Errorf("got %v", err)
	}
}

func testBackupDir(t *testing.T, p *plant) {
	dir := filepath.Join(t.TempDir(), "backups")
	other := filepath.Join(dir, p.given.Name+"_20200101T000000.000Z.tar.gz.txt")
	var names []string
	for range 4 {
		names = append(names, p.backup(BackupOptions{Dir: dir}).Name)
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, names[0]+".123.tmp"), nil, 0o600); err != nil { // of one that was killed
			t.Fatal(err)
		}
	}
	p.backup(BackupOptions{Dir: dir})
	have, err := backupsIn(dir, p.given.Name)
	if err != nil || len(have) != 3 || have[0] != names[2] {
		t.Errorf("kept %v of %v (%v)", have, names, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 4 {
		t.Errorf("there are %v, %v", all, err)
	}
}

// A backup that cannot be written, or is broken off, leaves no trace and the instance running.
func TestForeignBackupFails(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	if _, err := e.Backup(t.Context(), BackupOptions{Instance: p.given.Name}); spec.KindOf(err) != spec.NotFound {
		t.Errorf("got %v", err)
	}
	p.apply()
	p.put("broker", "queue", randomText(4<<20))
	before := p.identities()
	unharmed := func(t *testing.T) {
		t.Helper()
		p.t = t
		p.kept(before)
		p.empty()
	}
	t.Run("disk full", func(t *testing.T) {
		full := testneed.Tmpfs(t, 1<<20)
		for _, o := range []BackupOptions{{File: filepath.Join(full, "x.tar.gz")}, {Dir: full}} {
			o.Instance = p.given.Name
			_, err := e.Backup(t.Context(), o)
			if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir(full); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
			unharmed(t)
		}
	})
	t.Run("broken off", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := e.Backup(ctx, BackupOptions{Instance: p.given.Name, Writer: writerFunc(func(b []byte) (int, error) {
			cancel()
			return len(b), nil
		})})
		if err == nil || !strings.Contains(err.Error(), "it was broken off") {
			t.Errorf("got %v", err)
		}
		unharmed(t)
	})
	t.Run("continued meanwhile", func(t *testing.T) {
		p.t = t
		continued := false
		_, err := e.Backup(t.Context(), BackupOptions{Instance: p.given.Name, Writer: writerFunc(func(b []byte) (int, error) {
			if !continued {
				continued = true
				return len(b), e.api.ContainerUnpause(t.Context(), p.container("broker"))
			}
			return len(b), nil
		})})
		if spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "was started or continued while it was made") {
			t.Errorf("got %v", err)
		}
		unharmed(t)
	})
	t.Run("two at a time", func(t *testing.T) {
		_, err := e.Backup(t.Context(), BackupOptions{Instance: p.given.Name, Writer: writerFunc(func(b []byte) (int, error) {
			_, err := e.Backup(t.Context(), BackupOptions{Instance: p.given.Name, Writer: io.Discard})
			return len(b), err
		})})
		if spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "is backing it up or restoring it") {
			t.Errorf("got %v", err)
		}
		unharmed(t)
	})
	t.Run("a container that does not run", func(t *testing.T) {
		p.t = t
		if err := e.api.ContainerStop(t.Context(), p.container("mapper"), container.StopOptions{}); err != nil {
			t.Fatal(err)
		}
		p.backup(BackupOptions{Writer: io.Discard})
		has(t, p.named(p.plan().Plan.String()), "container/mapper: is not running: exited")
	})
}

// asBackup has this test binary stand in for a program that backs an instance up.
const asBackup = "MILLWRIGHT_TEST_AS_BACKUP"

func TestMain(m *testing.M) {
	if instance, host, ok := strings.Cut(os.Getenv(asBackup), " "); ok {
		os.Exit(backUpToStdout(instance, host))
	}
	os.Exit(m.Run())
}

func backUpToStdout(instance, host string) int {
	e, err := Open(context.Background(), Options{Host: host, Getenv: os.Getenv, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = e.Backup(context.Background(), BackupOptions{Instance: instance, Writer: os.Stdout})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A backup that is killed leaves the instance paused. The next pass says so and mends it, and
// so does the next backup.
func TestForeignBackupKilled(t *testing.T) {
	t.Parallel()
	host := testneed.OwnDocker(t)
	e := open(t, host)
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	p.put("broker", "queue", randomText(4<<20))
	before := p.identities()
	killed := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), asBackup+"="+p.given.Name+" "+host)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 4096)); err != nil { // the rest does not fit into the pipe
			t.Fatal(err)
		}
		under := p.plan()
		has(t, under.Plan.String(), "is not running: paused by a backup that has not ended", "is backing the instance up, or restoring it")
		if _, err := e.Apply(t.Context(), under, nil); spec.KindOf(err) != spec.Conflict {
			t.Errorf("a pass went over a backup: %v", err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // says that it was killed
	}
	killed()
	has(t, p.apply(), "- instance/NAME/leftover/NAME-backup: a backup that has not ended left it behind",
		"~ instance/NAME/container/broker: is not running: paused by a backup that has not ended")
	p.kept(before)
	killed()
	p.backup(BackupOptions{Writer: io.Discard})
	p.empty()
	p.kept(before)
}

// An engine whose disk is full loses no backup that it has, and no data over a restore.
func TestForeignBackupEngineFull(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t, "--data-root", testneed.Tmpfs(t, 40<<20)))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	p.put("broker", "queue", "small")
	p.backup(BackupOptions{})
	big := filepath.Join(t.TempDir(), "big.tar.gz")
	p.put("broker", "more", randomText(14<<20))
	p.backup(BackupOptions{File: big})
	before := p.identities()

	p.put("mapper", "more", randomText(12<<20))
	_, err := e.Backup(t.Context(), BackupOptions{Instance: p.given.Name})
	if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
	list, err := e.Backups(t.Context(), p.given.Name)
	if err != nil || len(list) != 1 {
		t.Errorf("the backups are %+v, %v", list, err)
	}
	p.empty()
	p.kept(before)

	p.put("mapper", "more", "")
	p.put("broker", "more", "")
	p.put("broker", "queue", "what is there")
	fill := p.fill(24 << 20)
	_, err = p.tryRestore(openArchive(t, big), true)
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "what was there was put back") {
		t.Errorf("got %v", err)
	}
	if got := p.get("broker", "queue"); got != "what is there" {
		t.Errorf("the broker has %q", got)
	}
	p.empty()
	fill()
	p.restore(openArchive(t, big), true)
	if got := p.get("broker", "queue"); got != "small" {
		t.Errorf("the broker has %q", got)
	}
}

// fill takes so many bytes of the engine's disk, until they are given back.
func (p *plant) fill(bytes int64) (free func()) {
	p.t.Helper()
	name := p.given.Name + "-other"
	image, err := p.engine.imageOf(p.t.Context(), p.plan().actual)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.engine.api.ContainerCreate(p.t.Context(), &container.Config{Image: image}, nil, nil, nil, name); err != nil {
		p.t.Fatal(err)
	}
	err = p.engine.upload(p.t.Context(), name, "/tmp", func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "fill", Size: bytes}); err != nil {
			return err
		}
		_, err := io.CopyN(w, rand.Reader, bytes)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		if err := p.engine.removeContainer(p.t.Context(), name); err != nil {
			p.t.Fatal(err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
