package engine

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// What cannot work is refused before anything is touched, and says what to do.
func TestForeignRefusals(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	well := archive(t, dir, "1.0.0", "well", runtime.GOARCH)
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := spec.Port(taken.Addr().String())
	truncated := filepath.Join(dir, "truncated.tar")
	whole, err := os.ReadFile(well)
	if err != nil {
		t.Fatal(err)
	}
	write(t, truncated, whole[:len(whole)/2])
	empty := filepath.Join(dir, "empty.tar")
	write(t, empty, nil)

	for _, c := range []struct {
		name   string
		change func(*spec.Instance)
		want   string
	}{
		{"port taken", func(i *spec.Instance) { i.Ports[spec.PortHTTPS] = busy }, "(https) is taken by process"},
		{"broken archive", func(i *spec.Instance) { i.ImageArchive, i.Version = truncated, "9.9.9" }, "cannot read the image archive"},
		{"empty archive", func(i *spec.Instance) { i.ImageArchive, i.Version = empty, "9.9.9" }, "it has no manifest.json"},
		{"no archive", func(i *spec.Instance) { i.ImageArchive, i.Version = "/nowhere.tar", "9.9.9" }, "no such file"},
		{"another version's archive", func(i *spec.Instance) { i.Version = "9.9.9" }, "holds " + testImage + ":1.0.0, not " + testImage + ":9.9.9"},
		{"no image", func(i *spec.Instance) { i.ImageArchive, i.Version = "", "9.9.9" }, "and pull is never"},
		{"architecture", func(i *spec.Instance) { i.ImageArchive, i.Version = archive(t, dir, "7.0.0", "well", other), "7.0.0" }, "is for linux/" + other},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t, e, well)
			c.change(&p.given)
			pass := p.plan()
			has(t, pass.Plan.String(), "error: ", c.want)
			if _, err := e.Apply(t.Context(), pass, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if after := p.plan().actual; after.Exists() || len(after.Volumes) > 0 || after.Files[0].Content != nil {
				t.Errorf("something was done: %+v", after)
			}
		})
	}

	t.Run("port of another container, overlapping mask, install path of another", func(t *testing.T) {
		first := newPlant(t, e, well)
		first.given.NetworkMask = "10.255.254.0/27"
		has(t, first.apply(), "network_mask: + \"10.255.254.0/27\"")
		second := newPlant(t, e, well)
		second.given.Ports = first.given.Ports
		second.given.NetworkMask = "10.255.254.0/24"
		has(t, second.plan().Plan.String(), "is taken by container "+first.container("control"), "network_mask 10.255.254.0/24 overlaps 10.255.254.0/27 (Docker network "+first.given.Name+"_default)")
		second.given.InstallPath = first.dir
		if _, err := e.Plan(t.Context(), second.given, testDefaults()); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "it is that of instance") {
			t.Errorf("got %v", err)
		}
		before := first.identities()
		first.given.NetworkMask = "10.255.253.0/27"
		has(t, first.apply(), "± instance/NAME/network/NAME_default: network_mask changed", "± instance/NAME/container/broker: its network is replaced")
		first.kept(before, "control", "broker", "mapper")
		write(t, filepath.Join(second.dir, render.ComposeFile), []byte("services: {}\n"))
		second.given.InstallPath = second.dir
		if _, err := e.Plan(t.Context(), second.given, testDefaults()); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "not Millwright's") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("variables of something else", func(t *testing.T) {
		p := newPlant(t, e, well)
		file := filepath.Join(p.dir, render.EnvFile)
		write(t, file, []byte("DATABASE_PASSWORD=x\n"))
		if _, err := e.Plan(t.Context(), p.given, testDefaults()); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "the .env there is not Millwright's") {
			t.Errorf("got %v", err)
		}
		p.apply(func(i *spec.Instance) { i.State = spec.Absent })
		p.given.InstallPath = t.TempDir()
		p.apply()
		p.apply(func(i *spec.Instance) { i.State, i.InstallPath, i.DeleteVolumes = spec.Absent, p.dir, true })
		if text, err := os.ReadFile(file); err != nil || string(text) != "DATABASE_PASSWORD=x\n" {
			t.Errorf("the file is now %q, %v", text, err)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		p := newPlant(t, e, well)
		p.given.InstallPath = testneed.Tmpfs(t, 16<<10)
		write(t, filepath.Join(p.given.InstallPath, "ballast"), bytes.Repeat([]byte("x"), 12<<10))
		pass := p.plan()
		_, err := e.Apply(t.Context(), pass, nil)
		if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("got %v", err)
		}
		if after := p.plan().actual; after.Exists() || len(after.Volumes) > 0 {
			t.Errorf("something was done: %+v", after)
		}
		left, err := os.ReadDir(p.given.InstallPath)
		if err != nil || len(left) != 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if err := os.Remove(filepath.Join(p.given.InstallPath, "ballast")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(p.given.InstallPath); err == nil {
			t.Fatal("the disk is gone")
		}
	})
}

// A disk that is full when a change is applied: nothing is touched, and what somebody edited stays.
func TestForeignDiskFull(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.given.InstallPath = testneed.Tmpfs(t, 64<<10)
	p.apply()
	before := p.identities()
	edited := filepath.Join(p.given.InstallPath, render.ComposeFile)
	write(t, edited, []byte("services: {} # mine\n"))
	ballast := filepath.Join(p.given.InstallPath, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	p.given.Env = map[string]string{"PLANT": "hall 2"}
	done, err := e.Apply(t.Context(), p.plan(), nil)
	if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v\n%s", err, done)
	}
	p.kept(before)
	left, err := os.ReadDir(p.given.InstallPath)
	if err != nil || len(left) != 3 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if text, err := os.ReadFile(edited); err != nil || string(text) != "services: {} # mine\n" {
		t.Errorf("what was edited is %q, %v", text, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	has(t, p.apply(), "~ instance/NAME/file/docker-compose.yml: was edited outside")
	p.kept(before, "control", "broker", "mapper")
	if text, err := os.ReadFile(edited + backupSuffix); err != nil || string(text) != "services: {} # mine\n" {
		t.Errorf("what was edited is kept as %q, %v", text, err)
	}
}

// The disk of the engine is full: the image that does not fit is no broken archive.
func TestForeignEngineDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, testneed.OwnDocker(t, "--data-root", testneed.Tmpfs(t, 16<<20)))
	big := filepath.Join(dir, "big")
	write(t, big, bytes.Repeat([]byte("0123456789abcdef"), 2<<20))
	p := newPlant(t, e, pack(t, filepath.Join(dir, "big.tar"), testImage+":1.0.0", runtime.GOARCH, big))
	_, err := e.Apply(t.Context(), p.plan(), nil)
	var failed *spec.Error
	if !errors.As(err, &failed) || failed.Kind != spec.Unavailable || !strings.Contains(err.Error(), "no space left") || !strings.Contains(failed.Hint, "free space") {
		t.Errorf("got %v", err)
	}
	if after := p.plan().actual; after.Exists() || len(after.Volumes) > 0 {
		t.Errorf("something was done: %+v", after)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An engine that is not there, does not answer, or is no address, says what to do.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for host, want := range map[string]struct {
		kind spec.Kind
		text string
	}{
		"unix://" + dir + "/none.sock": {spec.Unavailable, "cannot find a Docker engine"},
		"unix://" + dead:               {spec.Unavailable, "nothing answers"},
		"docker.example":               {spec.Invalid, "it is unix://PATH, ssh://"},
		"tcp://127.0.0.1:1":            {spec.Unavailable, "cannot reach the Docker engine"},
	} {
		_, err := Open(t.Context(), Options{Host: host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
		if spec.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

// An own engine is found where the system has none.
func TestFindHost(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	if got := findHost(Options{Host: "tcp://a:1", Getenv: env("DOCKER_HOST", "tcp://b:1")}); got != "tcp://a:1" {
		t.Errorf("got %s", got)
	}
	if got := findHost(Options{Getenv: env("DOCKER_HOST", "tcp://b:1")}); got != "tcp://b:1" {
		t.Errorf("got %s", got)
	}
}

// A pass that is broken off anywhere is finished by the next one. The names are those that
// kill -9 in the middle of a replacement leaves behind.
func TestForeignInterrupted(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	before := p.identities()
	pass := p.plan()
	if _, err := e.createContainer(t.Context(), pass, containerNamed(pass, "broker"), p.container("broker")+suffixNext); err != nil {
		t.Fatal(err)
	}
	has(t, p.apply(), "- instance/NAME/leftover/NAME-broker-1.next: an interrupted pass left it behind")
	p.kept(before)
	if err := e.api.ContainerRename(t.Context(), p.container("broker"), p.container("broker")+suffixPrevious); err != nil {
		t.Fatal(err)
	}
	has(t, p.apply(), "~ instance/NAME/container/broker: an interrupted pass had set it aside", `name: "NAME-broker-1.previous" → "NAME-broker-1"`)
	p.kept(before)
}

func containerNamed(p *Pass, part string) plan.Container {
	for _, c := range p.desired.Containers {
		if c.Part == part {
			return c
		}
	}
	return plan.Container{}
}

// A pass that has nothing to do: the figure is printed, not asserted.
func TestForeignNothingToDo(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	const passes = 20
	begin := time.Now()
	for range passes {
		p.empty()
	}
	t.Logf("a pass that has nothing to do takes %s", (time.Since(begin) / passes).Round(time.Millisecond))
}
