package engine

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	image := runtimeArchive(t, dir, "1.0.0")
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

	fresh := open(t, testneed.OwnDocker(t))
	g.remove()
	g.elsewhere(fresh)
	a := openArchive(t, file)
	unavailable := RestoreOptions{Instance: spec.Instance{Name: g.given.Name, Pull: spec.PullNever}, Defaults: testDefaults()}
	if _, err := fresh.Restore(t.Context(), a, unavailable); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "does not have the image") {
		t.Errorf("restored without an image: %v", err)
	}
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
func (g *gateway) undoes(file string, publisher interface {
	Publish(context.Context, *paho.Publish) (*paho.PublishResponse, error)
}, stored *numbers,
) {
	g.t.Helper()
	cursor := g.cursor("broker")
	if _, err := publisher.Publish(g.t.Context(), &paho.Publish{Topic: "line/recipe", QoS: 1, Retain: true, Payload: []byte("brass")}); err != nil {
		g.t.Fatal(err)
	}
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
