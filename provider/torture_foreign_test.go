package provider_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/millwright/millwright/internal/spec"
)

// tortures is how many random configurations are tried, from the seed on.
func tortures(t *testing.T, otherwise int) (seed uint64, count int) {
	t.Helper()
	seed, count = 1, otherwise
	if text := tortureCount; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("MILLWRIGHT_TEST_TORTURE=%q: %v", text, err)
		}
		count = n
	}
	if text := tortureSeed; text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("MILLWRIGHT_TEST_TORTURE_SEED=%q: %v", text, err)
		}
		seed = n
	}
	return seed, count
}

// tortureCount and tortureSeed are read before the settings of the user are taken away.
var tortureCount, tortureSeed = os.Getenv("MILLWRIGHT_TEST_TORTURE"), os.Getenv("MILLWRIGHT_TEST_TORTURE_SEED")

// Random configurations: apply, the plan is empty, change at random, apply, the plan is empty,
// import into a fresh state, the plan is empty, destroy leaves nothing. Terraform's own part is
// done in this process, so that hundreds take minutes.
func TestTorture(t *testing.T) {
	i := start(t)
	seed, count := tortures(t, 30)
	done := map[string]int{}
	for n := range count {
		if err := i.torture(t.Context(), seed+uint64(n), done); err != nil {
			t.Fatalf("configuration with MILLWRIGHT_TEST_TORTURE_SEED=%d: %v", seed+uint64(n), err)
		}
	}
	t.Logf("%d configurations: %v", count, done)
}

func (i *instance) torture(ctx context.Context, seed uint64, done map[string]int) error {
	s := newScene(seed)
	c := &core{settings: map[string]any{"url": i.url, "token": i.token}, state: map[string]object{}}
	for range 3 {
		changes, err := c.plan(ctx, s.render())
		if err != nil {
			return err
		}
		for _, one := range changes {
			done[one.action]++
		}
		if err := c.apply(ctx, s.render()); err != nil {
			return err
		}
		if err := c.settled(ctx, s.render(), "after the apply"); err != nil {
			return err
		}
		s.change()
	}
	if err := c.apply(ctx, s.render()); err != nil {
		return err
	}
	fresh, err := c.again(ctx)
	if err != nil {
		return err
	}
	if err := fresh.settled(ctx, s.render(), "after the import"); err != nil {
		return err
	}
	s.change()
	if err := fresh.apply(ctx, s.render()); err != nil {
		return err
	}
	if err := fresh.settled(ctx, s.render(), "after a change of what was imported"); err != nil {
		return err
	}
	if err := fresh.apply(ctx, nil); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return i.empty(ctx)
}

// settled checks that a plan is empty, and that reading finds what the apply said.
func (c *core) settled(ctx context.Context, wishes []wish, when string) error {
	before := maps.Clone(c.state)
	changes, err := c.plan(ctx, wishes)
	if err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	for _, address := range slices.Sorted(maps.Keys(changes)) {
		return fmt.Errorf("%s: the plan would %s %s:%s", when, changes[address].action, address, difference(c.state[address].value, changes[address].planned))
	}
	for _, address := range slices.Sorted(maps.Keys(before)) {
		was, is := fields(before[address].value), fields(c.state[address].value)
		for name := range was {
			if name != "state" && canonical(was[name]) != canonical(is[name]) {
				return fmt.Errorf("%s: %s of %s was %s, and is read as %s", when, name, address, canonical(was[name]), canonical(is[name]))
			}
		}
	}
	return nil
}

// difference says which attributes of two objects differ.
func difference(was, is tftypes.Value) (text string) {
	if was.Type() == nil || was.IsNull() || is.IsNull() {
		return ""
	}
	before, now := fields(was), fields(is)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if a, b := canonical(before[name]), canonical(now[name]); a != b {
			text += fmt.Sprintf("\n%s: %s → %s", name, a, b)
		}
	}
	return text
}

// again is a fresh state into which everything is imported.
func (c *core) again(ctx context.Context) (*core, error) {
	w, err := c.walk(ctx)
	if err != nil {
		return nil, err
	}
	defer w.end()
	fresh := &core{settings: c.settings, state: map[string]object{}}
	for address, o := range c.state {
		one, err := w.imported(ctx, address, importIDOf(address, o))
		if err != nil {
			return nil, err
		}
		one.needs, one.first = o.needs, o.first
		fresh.state[address] = one
	}
	return fresh, nil
}

func importIDOf(address string, o object) string {
	var id string
	key := map[string]string{"millwright_role": "name", "millwright_user": "username", "millwright_service": "id"}[kindOf(address)]
	must(fields(o.value)[key].As(&id))
	return id
}

// empty checks that the instance has nothing but what it came with.
func (i *instance) empty(ctx context.Context) error {
	services, err := i.Services().List(ctx, nil)
	if err != nil || len(services) > 0 {
		return fmt.Errorf("%d services are left, %w", len(services), err)
	}
	users, err := i.Users().List(ctx, nil)
	if err != nil || len(users) != 1 {
		return fmt.Errorf("%d users are left, %w", len(users), err)
	}
	roles, err := i.Roles().List(ctx, nil)
	if err != nil {
		return err
	}
	own := slices.IndexFunc(roles, func(r spec.RoleView) bool { return r.Name != "admin" })
	if own >= 0 {
		return fmt.Errorf("role %q is left", roles[own].Name)
	}
	return nil
}

// The same with Terraform itself, fewer of them.
func TestForeignTerraformTorture(t *testing.T) {
	seed, count := tortures(t, 2)
	i := start(t)
	for n := range max(1, min(count, 2+count/15)) {
		w := newWorkspace(t)
		s := newScene(seed + uint64(n))
		settings := map[string]any{"url": i.url, "token": i.token}
		write := func() []wish {
			wishes := s.render()
			text, err := written(settings, wishes)
			if err != nil {
				t.Fatal(err)
			}
			w.write("main.tf.json", text)
			return wishes
		}
		t.Logf("MILLWRIGHT_TEST_TORTURE_SEED=%d", seed+uint64(n))
		write()
		w.must("apply", "-auto-approve", "-input=false")
		write()
		w.settled()
		s.change()
		wishes := write()
		w.must("apply", "-auto-approve", "-input=false")
		w.settled()
		if err := os.Remove(w.dir + "/terraform.tfstate"); err != nil {
			t.Fatal(err)
		}
		imports := ""
		for _, one := range wishes {
			key := map[string]string{"millwright_role": "name", "millwright_user": "username", "millwright_service": "id"}[one.kind()]
			imports += fmt.Sprintf("import {\n  to = %s\n  id = %q\n}\n", one.address, one.values[key])
		}
		w.write("imports.tf", imports)
		w.must("apply", "-auto-approve", "-input=false")
		if err := os.Remove(w.dir + "/imports.tf"); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.must("destroy", "-auto-approve", "-input=false")
		if err := i.empty(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
