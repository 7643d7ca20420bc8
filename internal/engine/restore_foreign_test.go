package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// elsewhere is the same instance on another engine, where it is not yet.
func (g *gateway) elsewhere(e *Engine) {
	p := *g.plant
	p.engine = e
	g.plant = &p
	g.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
		defer cancel()
		pass, err := e.Plan(ctx, spec.Instance{Name: p.given.Name, State: spec.Absent, DeleteVolumes: true, InstallPath: p.dir}, testDefaults())
		if err == nil {
			_, err = e.Apply(ctx, pass, nil)
		}
		if err != nil {
			g.t.Errorf("cannot remove the instance: %v", err)
		}
	})
}

// The real thing goes from one engine to another, with all that it knows.
func TestForeignRestore(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	image, program := runtimeArchive(t, dir, "1.0.0"), filepath.Join(dir, "runtime-1.0.0")
	g := newGateway(t, e, image)
	g.apply()
	g.connect()
	g.install()

	var stored, values numbers
	publisher := g.login(t.Context(), "publisher", func(*paho.Publish) {})
	g.store(publisher, &stored)
	subscribe(t, g.login(t.Context(), "values", values.take), "services/press/reads")
	g.flows(&values)

	file := filepath.Join(dir, "backup.tar.gz")
	before := g.identities()
	saved := g.backup(BackupOptions{File: file})
	t.Logf("%d bytes; the instance stood still for %v s", saved.Size, saved.Held)
	g.kept(before)
	g.flows(&values) // it goes on, and nobody's connection was needed anew
	g.undoes(file, publisher, &stored)
	g.migrates(ofFormat(t, realImage+":1.1.0", "9.9", program), publisher)

	fresh := open(t, testneed.OwnDocker(t))
	g.remove()
	g.elsewhere(fresh)
	a := openArchive(t, file)
	unavailable := RestoreOptions{Instance: spec.Instance{Name: g.given.Name, Pull: spec.PullNever}, Defaults: testDefaults()}
	if _, err := fresh.Restore(t.Context(), a, unavailable); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "does not have the image") {
		t.Errorf("restored without an image: %v", err)
	}
	g.given.Version, g.given.ImageArchive = "1.0.0", image
	done, err := fresh.Restore(t.Context(), a, RestoreOptions{Instance: spec.Instance{ImageArchive: image}, Defaults: testDefaults()})
	if err != nil {
		t.Fatalf("%v\n%s", err, done.Plan)
	}
	g.empty()
	g.connect()
	subscribe(t, g.login(t.Context(), "values", values.take), "services/press/reads")
	g.flows(&values)
	g.remains(&stored)
}

// undoes changes the instance, and has the backup put in its place: what came after it is gone, and what
// waited then waits again.
func (g *gateway) undoes(file string, publisher *autopaho.ConnectionManager, stored *numbers) {
	g.t.Helper()
	cursor := g.cursor("broker")
	publish(g.t, publisher, "line/recipe", "brass", true)
	request := plan.Request{Services: []spec.Service{{ID: "press", State: spec.Absent}}, Confirm: "any"}
	if _, err := g.api.Apply(g.t.Context(), request); err != nil {
		g.t.Fatal(err)
	}
	g.restore(openArchive(g.t, file), true)
	g.empty()
	g.connect()
	g.remains(stored)
	stored.forget()
	if after := g.cursor("broker"); after == cursor {
		g.t.Errorf("control's store still has the name %s", after)
	}
}

// migrates upgrades under load to a release whose data has another format, first in vain: nothing
// that was acknowledged is lost with the data of the attempt.
func (g *gateway) migrates(archive string, publisher *autopaho.ConnectionManager) {
	g.t.Helper()
	var waiting numbers // for who is away meanwhile
	away := g.login(g.t.Context(), "away", waiting.take)
	subscribe(g.t, away, "line/numbers")
	if err := away.Disconnect(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	load := g.traffic(publisher)
	given := g.given
	given.Version, given.ImageArchive, given.Devices = "1.1.0", archive, []string{"/dev/none"}
	pass, err := g.engine.Plan(g.t.Context(), given, testDefaults())
	if err != nil {
		g.t.Fatal(err)
	}
	done, err := g.engine.Apply(g.t.Context(), pass, nil)
	if err == nil {
		g.t.Fatalf("a mapper with a device that there is not was started:\n%s", done)
	}
	has(g.t, g.named(err.Error()), "cannot start container NAME-mapper-1", "what was there was put back, with its data")
	g.empty()
	g.given.Version, g.given.ImageArchive = "1.1.0", archive
	has(g.t, g.apply(), "keeps the data in another format (9.9)")
	load.end()
	g.t.Logf("%d numbers acknowledged; the broker was away for %s", load.acknowledged, load.brokerGap.Round(time.Millisecond))
	g.login(g.t.Context(), "away", waiting.take)
	until(g.t, "every acknowledged number", func() error {
		if missing := waiting.missing(load.acknowledged); len(missing) > 0 {
			return fmt.Errorf("%d of %d are missing, the first %d", len(missing), load.acknowledged, missing[0])
		}
		return nil
	})
}

// cursor is the name of control's store, as a part knows it.
func (g *gateway) cursor(part string) string {
	g.t.Helper()
	policy := g.get(part, "broker/policy.json")
	_, cursor, _ := strings.Cut(policy, `"cursor":"`)
	store, _, _ := strings.Cut(cursor, "-")
	if store == "" {
		g.t.Fatalf("the broker's policy has no cursor: %.300s", policy)
	}
	return store
}

func (n *numbers) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen, n.list = nil, nil
}
