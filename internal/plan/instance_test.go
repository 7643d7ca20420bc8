package plan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// deployed is an instance's deployment as it shall be, with the image's id.
func deployed(t *testing.T, i spec.Instance) plan.Deployment {
	t.Helper()
	settled, err := i.Over(nil, spec.InstanceDefaults{Version: "1.0.0", InstallPath: "/opt/millwright"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := render.Deployment(settled)
	if err != nil {
		t.Fatal(err)
	}
	d.Image.ID = "sha256:" + settled.Version
	for n := range d.Containers {
		d.Containers[n].ImageID = d.Image.ID
	}
	return d
}

// observed is the deployment as an engine shows it when it runs.
func observed(t *testing.T, d plan.Deployment) plan.Deployment {
	t.Helper()
	d.Recorded = true
	d.Containers = slices.Clone(d.Containers)
	for n := range d.Containers {
		c := &d.Containers[n]
		made, err := c.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		c.Made, c.Running, c.Status, c.ID = made, true, "running", "id"
		c.Environment = maps.Clone(c.Environment)
		c.Environment["PATH"] = "/" // the image's own
	}
	return d
}

func diff(state spec.State, desired, actual plan.Deployment, last *plan.Deployment) string {
	return plan.Plan{Steps: plan.DiffInstance(plan.InstanceInput{State: state, Desired: desired, Actual: actual, Last: last})}.String()
}

// A given secret that is there, and of which something says that it is not in force, is written again;
// one that nobody gives is not.
func TestDiffOutdatedSecret(t *testing.T) {
	password := "given"
	desired := deployed(t, spec.Instance{AdminPassword: &password})
	actual := observed(t, desired)
	actual.Secrets = slices.Clone(desired.Secrets)
	if got := diff(spec.Started, desired, actual, &desired); got != "No changes.\n" {
		t.Errorf("got\n%s", got)
	}
	actual.Secrets[0].Outdated = "is not in force"
	want := "~ instance/millwright/secrets: admin-password is not in force\n    admin-password: (sensitive, changed)\n    disturbs the container (~5 s)\n"
	if got := diff(spec.Started, desired, actual, &desired); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
	desired.Secrets[0].Content = nil
	if got := diff(spec.Started, desired, actual, &desired); got != "No changes.\n" {
		t.Errorf("got\n%s", got)
	}
}

// The causes tell what was asked for from what was done behind our back.
func TestDiffInstance(t *testing.T) {
	base := deployed(t, spec.Instance{})
	yes := true
	for _, c := range []struct {
		name   string
		given  spec.Instance
		change func(*plan.Deployment)
		want   string
	}{
		{"nothing", spec.Instance{}, func(*plan.Deployment) {}, "No changes.\n"},
		{"upgrade and drift at once", spec.Instance{Version: "2.0.0"}, func(d *plan.Deployment) {
			d.Containers[1].Memory, d.Containers[1].Running, d.Containers[1].Status = 1<<30, false, "exited (exit code 137)"
		}, `~ instance/millwright: version changed
    version: "1.0.0" → "2.0.0"
± instance/millwright/container/control: image changed
    image: "sha256:1.0.0" → "sha256:2.0.0"
    disturbs the container (~10 s)
± instance/millwright/container/broker: image changed; memory changed outside; is not running: exited (exit code 137)
    image: "sha256:1.0.0" → "sha256:2.0.0"
    memory: 1073741824 → 402653184
    running: false → true
    disturbs the container (~10 s)
± instance/millwright/container/mapper: image changed
    image: "sha256:1.0.0" → "sha256:2.0.0"
    disturbs the container (~10 s)
~ instance/millwright/file/docker-compose.yml: its settings changed

Plan: 0 to add, 5 to change, 0 to delete. Disturbs: container (~10 s).
`},
		{"read only", spec.Instance{ReadOnly: &yes}, func(*plan.Deployment) {}, "± instance/millwright/container/mapper: command changed\n"},
		{
			"a removed variable",
			spec.Instance{},
			func(d *plan.Deployment) { d.Containers[2].Environment["TZ"] = "Mars" },
			"± instance/millwright/container/mapper: environment.TZ changed outside\n",
		},
		{
			"settings that are not observed",
			spec.Instance{},
			func(d *plan.Deployment) { d.Containers[0].Made = "another" },
			"± instance/millwright/container/control: was made from other settings\n",
		},
		{"a network gone", spec.Instance{}, func(d *plan.Deployment) { d.Network = nil }, "+ instance/millwright/network/millwright_default: was removed outside\n"},
		{
			"a port closed by hand",
			spec.Instance{},
			func(d *plan.Deployment) { d.Containers[1].Ports = nil },
			`    ports["8883"]: + "8883"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			actual := observed(t, base)
			c.change(&actual)
			desired := deployed(t, c.given)
			if got := diff(spec.Started, desired, actual, &base); !strings.Contains(got, c.want) || c.given.Version != "" && got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Whatever changes into whatever: when it is done there is nothing to do, equal settings are no
// change, and what is not concerned is left alone.
func TestDiffInstanceSettles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(options ...func(*spec.Instance)) spec.Instance {
		var i spec.Instance
		for _, o := range options {
			if r.IntN(2) == 0 {
				o(&i)
			}
		}
		return i
	}
	random := func() spec.Instance {
		return pick(
			func(i *spec.Instance) { i.Version = fmt.Sprint(r.IntN(3)) },
			func(i *spec.Instance) { i.Agents = []string{"a", "b"}[:r.IntN(3)] },
			func(i *spec.Instance) { i.Env = map[string]string{"X": fmt.Sprint(r.IntN(2))} },
			func(i *spec.Instance) { i.Ports = spec.Ports{spec.PortMQTT: "1883", spec.PortHTTP: ""} },
			func(i *spec.Instance) { i.Limits = map[string]spec.Limit{"broker": {CPUs: 1 + float64(r.IntN(2))}} },
			func(i *spec.Instance) { i.NetworkMask = "10.9.0.0/24" },
			func(i *spec.Instance) { i.DNS = []string{"10.0.0.1"} },
		)
	}
	for range 300 {
		from, to := deployed(t, random()), deployed(t, random())
		if got := diff(spec.Started, to, observed(t, to), &from); got != "No changes.\n" {
			t.Fatalf("what is done is planned again:\n%s", got)
		}
		steps := plan.DiffInstance(plan.InstanceInput{State: spec.Started, Desired: to, Actual: observed(t, from), Last: &from})
		for _, s := range steps {
			if strings.Contains(s.Cause, "outside") || s.Cause == "" {
				t.Fatalf("nobody did that: %s %s: %q", s.Symbol, s.Address, s.Cause)
			}
		}
	}
}

// A backup precedes what changes an image, where one is wanted; an instance that goes with its
// volumes takes its backups along.
func TestDiffBackup(t *testing.T) {
	desired := deployed(t, spec.Instance{})
	actual := observed(t, desired)
	changed := desired
	changed.Containers = slices.Clone(desired.Containers)
	changed.Containers[1].ImageID = "another"
	for name, c := range map[string]struct {
		in   plan.InstanceInput
		want bool
	}{
		"another image":            {plan.InstanceInput{State: spec.Started, Desired: changed, BackupTo: "volume x"}, true},
		"no backup wanted":         {plan.InstanceInput{State: spec.Started, Desired: changed}, false},
		"nothing changes":          {plan.InstanceInput{State: spec.Started, Desired: desired, BackupTo: "volume x"}, false},
		"it is not there":          {plan.InstanceInput{State: spec.Started, Desired: changed, BackupTo: "volume x", Actual: plan.Deployment{Name: desired.Name}}, false},
		"it goes":                  {plan.InstanceInput{State: spec.Absent, Desired: desired}, false},
		"it goes with its volumes": {plan.InstanceInput{State: spec.Absent, Desired: desired, DeleteVolumes: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.in.Actual.Name == "" {
				c.in.Actual = actual
				c.in.Actual.Backups = desired.Name + "_backup"
			}
			steps := plan.DiffInstance(c.in)
			text := plan.Plan{Steps: steps}.String()
			if strings.Contains(text, "backup") != c.want {
				t.Errorf("got\n%s", text)
			}
			container := slices.IndexFunc(steps, func(s plan.Step) bool { return strings.Contains(s.Address, "/container/") })
			backup := slices.IndexFunc(steps, func(s plan.Step) bool { return strings.HasSuffix(s.Address, "/backup") })
			if backup > container {
				t.Errorf("the backup comes late:\n%s", text)
			}
		})
	}
}
