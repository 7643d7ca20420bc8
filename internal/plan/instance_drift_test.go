package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// What can be mended on a container is, and only what cannot needs another one.
func TestDiffDrift(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(desired, actual *plan.Deployment)
		want   string
	}{
		{"name", func(_, a *plan.Deployment) { a.Containers[2].Name = "odd" }, `~ instance/millwright/container/mapper: name changed outside
    name: "odd" → "millwright-mapper-1"

Plan: 0 to add, 1 to change, 0 to delete. Disturbs nothing.
`},
		{"network", func(_, a *plan.Deployment) { a.Containers[1].Network = "" }, `~ instance/millwright/container/broker: network changed outside
    network: + "millwright_default"

Plan: 0 to add, 1 to change, 0 to delete. Disturbs nothing.
`},
		{"bounds", func(_, a *plan.Deployment) {
			x := &a.Containers[1]
			x.Swap, x.Pids, x.Restart, x.Memory = -1, 9, "no", 1
		}, `~ instance/millwright/container/broker: memory, pids_limit, restart and 1 more changed outside
    memory: 1 → 402653184
    pids_limit: 9 → 1024
    restart: "no" → "unless-stopped"
    swap: - -1

Plan: 0 to add, 1 to change, 0 to delete. Disturbs nothing.
`},
		{"a bound that the engine cannot take away", func(_, a *plan.Deployment) { a.Containers[1].CPUs = 1 }, `± instance/millwright/container/broker: cpus changed outside
    cpus: - 1
    disturbs the container (~10 s)

Plan: 0 to add, 1 to change, 0 to delete. Disturbs: container (~10 s).
`},
		{"set aside by an interrupted pass", func(_, a *plan.Deployment) {
			x := &a.Containers[0]
			x.Name, x.Interrupted, x.Running, x.Status = x.Name+".previous", "an interrupted pass had set it aside", false, "exited (exit code 0)"
		}, `~ instance/millwright/container/control: an interrupted pass had set it aside; is not running: exited (exit code 0)
    name: "millwright-control-1.previous" → "millwright-control-1"
    running: false → true

Plan: 0 to add, 1 to change, 0 to delete. Disturbs nothing.
`},
		{"not seen healthy, beside its predecessor", func(_, a *plan.Deployment) {
			a.Containers[0].Interrupted = "an interrupted pass has not seen it healthy"
			a.Leftovers = []plan.Leftover{{Name: "millwright-control-1.previous", Cause: "left", Held: true}, {Name: "x.next", Cause: "left"}}
		}, `- instance/millwright/leftover/x.next: left
~ instance/millwright/container/control: an interrupted pass has not seen it healthy

Plan: 0 to add, 1 to change, 1 to delete. Disturbs nothing.
`},
		{"a tag that was moved", func(d, _ *plan.Deployment) {
			for i := range d.Containers {
				d.Containers[i].ImageID = "sha256:other"
			}
			d.Containers = d.Containers[:3]
			d.Containers[0].ImageID, d.Containers[2].ImageID = "sha256:1.0.0", "sha256:1.0.0"
		}, `± instance/millwright/container/broker: is not made from the image that its tag names now
    image: "sha256:1.0.0" → "sha256:other"
    disturbs the container (~10 s)

Plan: 0 to add, 1 to change, 0 to delete. Disturbs: container (~10 s).
`},
		{"an image without its name", func(d, _ *plan.Deployment) {
			d.Image.Missing, d.Image.Source = true, "it is loaded"
		}, `+ instance/millwright/image/millwright/millwright:1.0.0: the engine does not have it: it is loaded

Plan: 1 to add, 0 to change, 0 to delete. Disturbs nothing.
`},
		{"a part's volume", func(d, a *plan.Deployment) {
			a.Secrets = slices.Clone(d.Secrets)
			a.Volumes = slices.DeleteFunc(slices.Clone(a.Volumes), func(v string) bool { return v == "millwright_broker" })
			a.Containers = slices.Delete(slices.Clone(a.Containers), 1, 2)
		}, `~ instance/millwright/secrets: join/broker is made anew with its volume
    join/broker: (sensitive, changed)
+ instance/millwright/volume/millwright_broker: was removed outside
+ instance/millwright/container/broker: was removed outside

Plan: 2 to add, 1 to change, 0 to delete. Disturbs nothing.
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := deployed(t, spec.Instance{})
			desired := deployed(t, spec.Instance{})
			actual := observed(t, base)
			actual.Secrets = slices.Clone(base.Secrets)
			c.change(&desired, &actual)
			if got := diff(spec.Started, desired, actual, &base); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Of an instance that goes nothing stays, whatever an interrupted pass has left.
func TestDiffAbsentRemovesWhatIsHeld(t *testing.T) {
	base := deployed(t, spec.Instance{})
	actual := observed(t, base)
	actual.Leftovers = []plan.Leftover{{Name: "millwright-control-1.previous", Cause: "left", Held: true}}
	if got := diff(spec.Absent, base, actual, &base); !strings.Contains(got, "- instance/millwright/leftover/millwright-control-1.previous: left\n") {
		t.Errorf("got\n%s", got)
	}
}
