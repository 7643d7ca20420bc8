package engine

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"

	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// ofFormat writes an image of a program that says in which format it keeps data.
func ofFormat(t *testing.T, reference, format, program string) string {
	t.Helper()
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = image.Write(&b, image.Options{
		Tag: reference, Arch: runtime.GOARCH, Program: binary, Roots: []byte("none\n"), Created: time.Unix(int64(len(reference)), 0),
		Labels: map[string]string{"reference": reference, render.LabelDataFormat: format}, Entrypoint: render.Program,
		UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func standin(t *testing.T, mode string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), mode)
	build(t, program, "./testdata/standin", "-X main.mode="+mode)
	return program
}

// networks are those that a part's container is in.
func (p *plant) networks(part string) []string {
	p.t.Helper()
	c, err := p.engine.api.ContainerInspect(p.t.Context(), p.container(part))
	if err != nil {
		p.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(c.NetworkSettings.Networks))
}

// An upgrade begins with a backup. One to another format of the data stops all parts, keeps the
// new broker from everybody until all are exchanged, and is undone with the data.
func TestForeignUpgradeBacksUp(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	well := standin(t, "well")
	first := ofFormat(t, testImage+":1.0.0", "1.1", well)
	p := newPlant(t, e, first)
	p.apply()
	p.put("broker", "queue", "acknowledged")

	t.Run("the same format", func(t *testing.T) {
		p.t = t
		p.given.Version, p.given.ImageArchive = "1.0.1", ofFormat(t, testImage+":1.0.1", "1.1", well)
		pass := p.plan()
		has(t, p.named(pass.Plan.String()), "+ instance/NAME/backup: the image changes; it goes to volume NAME_backup")
		if strings.Contains(pass.Plan.String(), "another format") || !pass.NeedsBackup() {
			t.Errorf("got %s", pass.Plan)
		}
		p.apply()
		list, err := e.Backups(t.Context(), p.given.Name)
		if err != nil || len(list) != 1 || list[0].Version != "1.0.0" {
			t.Errorf("the backups are %+v, %v", list, err)
		}
	})
	t.Run("no backup wanted", func(t *testing.T) {
		p.t = t
		no := false
		pass := p.plan(func(i *spec.Instance) {
			i.Backup, i.Version, i.ImageArchive = &no, "2.0.0", ofFormat(t, testImage+":2.0.0", "2.0", well)
		})
		has(t, p.named(pass.Plan.String()), "if the upgrade fails the version of before may refuse the data")
		if pass.NeedsBackup() {
			t.Errorf("got %s", pass.Plan)
		}
	})
	t.Run("another format that fails", func(t *testing.T) { p.t = t; testMigrationFails(t, p) })
	t.Run("another format", func(t *testing.T) {
		p.t = t
		p.given.Version, p.given.ImageArchive = "3.0.0", ofFormat(t, testImage+":3.0.0", "3.0", well)
		has(t, p.apply(), "keeps the data in another format (3.0): all parts are stopped together until all are exchanged")
		if got := p.get("broker", "queue"); got != "acknowledged" {
			t.Errorf("the broker has %q", got)
		}
		p.alone()
	})
}

// alone fails unless the broker is in the instance's network and in no other, and no other is left.
func (p *plant) alone() {
	p.t.Helper()
	if got := p.networks("broker"); !slices.Equal(got, []string{p.given.Name + "_default"}) {
		p.t.Errorf("the broker is in the networks %v", got)
	}
	if _, err := p.engine.api.NetworkInspect(p.t.Context(), isolatedNetwork(p.given.Name), network.InspectOptions{}); err == nil {
		p.t.Error("the network of the upgrade is left")
	}
}

func testMigrationFails(t *testing.T, p *plant) {
	backups := t.TempDir()
	given := p.given
	given.BackupPath, given.WaitTimeout = backups, 3
	given.Version, given.ImageArchive = "2.0.1", ofFormat(t, testImage+":2.0.1", "2.0", standin(t, "spoil"))
	pass, err := p.engine.Plan(t.Context(), given, testDefaults())
	if err != nil {
		t.Fatal(err)
	}
	isolated := false
	done, err := p.engine.Apply(t.Context(), pass, func(s plan.Step) {
		if strings.HasSuffix(s.Address, "/container/broker") && s.Result == plan.Done {
			got := p.networks("broker")
			isolated = slices.Equal(got, []string{isolatedNetwork(p.given.Name)})
			if spoiled := p.get("broker", "queue"); !isolated || spoiled != "spoiled" {
				t.Errorf("the new broker is in %v with %q", got, spoiled)
			}
		}
	})
	if err == nil {
		t.Fatal("a sick mapper was taken")
	}
	has(t, p.named(err.Error()), "cannot bring up container NAME-mapper-1", "what was there was put back, with its data")
	has(t, p.named(done.String()), "container/control: image changed [failed", "container/broker: image changed [failed", "container/mapper: image changed [failed")
	if file := pass.BackupFile(); filepath.Dir(file) != backups || !isolated {
		t.Errorf("the backup is %q; the broker was isolated: %v", file, isolated)
	}
	if got := p.get("broker", "queue"); got != "acknowledged" {
		t.Errorf("the broker has %q", got)
	}
	if got := p.get("mapper", "sick"); got != "" || p.get("control", "queue") != "" {
		t.Error("what the new version left is still there")
	}
	p.empty()
	p.alone()
}

// endedMaker names a process of this host that has ended.
func endedMaker(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(maker(), "@")
	return strconv.Itoa(cmd.Process.Pid) + "@" + host
}

// An upgrade to another format of the data that is broken off is gone on with by the next pass.
func TestForeignCutMigration(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	well := standin(t, "well")
	versions := []struct{ version, archive string }{
		{"1.0.0", ofFormat(t, testImage+":1.0.0", "1.1", well)}, {"2.0.0", ofFormat(t, testImage+":2.0.0", "2.0", well)},
	}
	p := newPlant(t, e, versions[0].archive)
	p.given.AllowDowngrade = true
	p.apply()
	p.keepData(t)
	p.eachCut(t, cuts{stride: 21, change: func() {
		slices.Reverse(versions)
		p.given.Version, p.given.ImageArchive = versions[0].version, versions[0].archive
	}, mended: func(t *testing.T) { p.t = t; p.alone() }})
}
