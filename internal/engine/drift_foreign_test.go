package engine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// drift is what somebody does behind our back, what the plan says of it, and which parts'
// containers are others, or started anew, when it is mended.
type drift struct {
	name    string
	harm    func() error
	want    []string
	changed []string
}

// mends has each drift told with its cause, and mended by one pass that touches nothing else.
func (p *plant) mends(t *testing.T, drifts []drift) {
	t.Helper()
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			p.t = t
			before := p.identities()
			if err := d.harm(); err != nil {
				t.Fatal(err)
			}
			text := p.apply()
			has(t, text, d.want...)
			if strings.Contains(text, "instance/NAME: ") && d.name != "container prune" {
				t.Errorf("the instance itself is said to change:\n%s", text)
			}
			p.kept(before, d.changed...)
		})
	}
}

// What is changed on a container, its network, its image or its volumes behind our back is told
// with its cause, and mended without touching anything else.
func TestForeignDrift(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	p := newPlant(t, e, archive(t, dir, "1.0.0", "well", runtime.GOARCH))
	p.apply()
	api, ctx := e.api, t.Context()
	own := p.given.Name + "_default"
	update := func(part string, config container.UpdateConfig) func() error {
		return func() error {
			_, err := api.ContainerUpdate(ctx, p.container(part), config)
			return err
		}
	}
	pids := int64(77)

	c, err := api.ContainerInspect(ctx, p.container("broker"))
	if err != nil || c.Config.Image != testImage+":1.0.0" {
		t.Errorf("docker ps does not show the image's name: %v, %v", c.Config, err)
	}
	p.mends(t, []drift{
		{
			"restart policy", update("broker", container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "no"}}),
			[]string{"~ instance/NAME/container/broker: restart changed outside", `restart: "no" → "unless-stopped"`},
			nil,
		},
		{
			"swap", update("control", container.UpdateConfig{Resources: container.Resources{MemorySwap: -1}}),
			[]string{"~ instance/NAME/container/control: swap changed outside"},
			nil,
		},
		{
			"number of processes", update("control", container.UpdateConfig{Resources: container.Resources{PidsLimit: &pids}}),
			[]string{"~ instance/NAME/container/control: pids_limit changed outside", "pids_limit: 77 → 1024"},
			nil,
		},
		{ // which the engine cannot take away again
			"processor time", update("mapper", container.UpdateConfig{Resources: container.Resources{NanoCPUs: 5e8}}),
			[]string{"± instance/NAME/container/mapper: cpus changed outside", "cpus: - 0.5"},
			[]string{"mapper"},
		},
		{
			"network disconnect", func() error { return api.NetworkDisconnect(ctx, own, p.container("mapper"), false) },
			[]string{"~ instance/NAME/container/mapper: network changed outside", `network: + "NAME_default"`},
			nil,
		},
		{
			"network without the part's name", func() error {
				return errors.Join(api.NetworkDisconnect(ctx, own, p.container("control"), false),
					api.NetworkConnect(ctx, own, p.container("control"), &network.EndpointSettings{}))
			},
			[]string{"~ instance/NAME/container/control: network changed outside", `network: "NAME_default, without its name there" → "NAME_default"`},
			nil,
		},
		{
			"network removed", func() error {
				var failed error
				for _, part := range p.plan().Instance.Parts() {
					failed = errors.Join(failed, api.ContainerStop(ctx, p.container(part), container.StopOptions{}))
				}
				_, err := api.NetworksPrune(ctx, filters.Args{})
				return errors.Join(failed, err)
			},
			[]string{
				"+ instance/NAME/network/NAME_default: was removed outside",
				"~ instance/NAME/container/control: network changed outside; is not running: exited",
			},
			[]string{"control", "broker", "mapper"},
		},
		{
			"edited .env", func() error {
				return os.WriteFile(filepath.Join(p.dir, render.EnvFile), []byte("TZ=Mars/Olympus\n"), 0o600)
			},
			[]string{"~ instance/NAME/file/.env: was edited outside; the edited one is kept as .env.bak"},
			nil,
		},
		{
			"removed file", func() error { return os.Remove(filepath.Join(p.dir, render.ComposeFile)) },
			[]string{"+ instance/NAME/file/docker-compose.yml: was removed outside"},
			nil,
		},
		{
			"name of the image removed", func() error {
				_, err := api.ImageRemove(ctx, testImage+":1.0.0", image.RemoveOptions{Force: true})
				return err
			},
			[]string{"+ instance/NAME/image/" + testImage + ":1.0.0: the engine does not have it: it is loaded from", "Plan: 1 to add, 0 to change"},
			nil,
		},
		{
			"a second container of a part", func() error {
				c := containerNamed(p.plan(), "broker")
				c.ImageID, c.Ports = p.plan().desired.Image.ID, nil
				id, err := e.createContainer(ctx, p.plan(), c, p.given.Name+"-broker-2")
				if err != nil {
					return err
				}
				return api.ContainerStart(ctx, id, container.StartOptions{})
			},
			[]string{"- instance/NAME/leftover/NAME-broker-2: has the instance's labels and is none of its containers"},
			nil,
		},
		{
			"container prune", func() error {
				_, err := api.ContainersPrune(ctx, filters.Args{})
				return err
			},
			[]string{"~ instance/NAME: the record of what was applied was removed outside", "Plan: 0 to add, 1 to change, 0 to delete. Disturbs nothing."},
			nil,
		},
		{
			"moved tag", func() error {
				if _, err := e.LoadImage(ctx, archive(t, dir, "1.0.1", "well", runtime.GOARCH)); err != nil {
					return err
				}
				return api.ImageTag(ctx, testImage+":1.0.1", testImage+":1.0.0")
			},
			[]string{"± instance/NAME/container/control: is not made from the image that its tag names now", "± instance/NAME/container/mapper: is not made from the image that its tag names now"},
			[]string{"control", "broker", "mapper"},
		},
	})
	t.Run("volume of somebody else", func(t *testing.T) {
		p.t = t
		p.loseVolume(t, "mapper")
		if _, err := api.VolumeCreate(ctx, volume.CreateOptions{Name: p.given.Name + "_mapper"}); err != nil {
			t.Fatal(err)
		}
		pass := p.plan()
		has(t, p.named(pass.Plan.String()), "error: cannot use the volume NAME_mapper: it is not this instance's (remove it (docker volume rm NAME_mapper)")
		if _, err := e.Apply(ctx, pass, nil); spec.KindOf(err) != spec.Conflict {
			t.Errorf("got %v", err)
		}
		if err := api.VolumeRemove(ctx, p.given.Name+"_mapper", false); err != nil {
			t.Fatal(err)
		}
		has(t, p.apply(), "~ instance/NAME/secrets: join/protocol-mapper is made anew with its volume")
	})
}

// What a newer program has applied is not changed by an older one that does not know how it is
// made, unless its version is asked for; what it wrote in a form that this one cannot read, never.
func TestForeignNewerInstance(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "2.0.0", "well", runtime.GOARCH))
	p.given.Version = "2.0.0"
	p.apply()
	before := p.identities()
	memory := func(i *spec.Instance) {
		i.Version, i.Limits = "", map[string]spec.Limit{"broker": {Memory: "400m"}}
	}
	p.empty(func(i *spec.Instance) { i.Version = "" })
	pass := p.plan(memory)
	has(t, pass.Plan.String(), "error: the instance is of version 2.0.0, and this program of 1.0.0 may not know how that is made (use Millwright 2.0.0; or give version: 2.0.0")
	if _, err := e.Apply(t.Context(), pass, nil); spec.KindOf(err) != spec.Conflict {
		t.Errorf("got %v", err)
	}
	p.apply(memory, func(i *spec.Instance) { i.Version = "2.0.0" })
	p.kept(before)

	pass = p.plan()
	pass.actual.recordID = ""
	labels, err := appliedLabels(pass.Instance)
	if err != nil {
		t.Fatal(err)
	}
	labels[labelRole], labels[render.LabelSpec] = roleRecord, `{"name": {"of": "another form"}}`
	if err := e.removeContainer(t.Context(), recordName(p.given.Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.createRecord(t.Context(), pass, recordName(p.given.Name), labels); err != nil {
		t.Fatal(err)
	}
	_, err = e.Plan(t.Context(), p.given, testDefaults())
	if spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "cannot tell what was last applied") {
		t.Errorf("got %v", err)
	}
	has(t, p.named(p.plan(func(i *spec.Instance) { i.State = spec.Absent }).Plan.String()), "- instance/NAME: state absent was asked for")
	if err := e.removeContainer(t.Context(), recordName(p.given.Name)); err != nil {
		t.Fatal(err)
	}
	has(t, p.apply(memory, func(i *spec.Instance) { i.Version = "2.0.0" }), "the record of what was applied was removed outside")
}

// BenchmarkNoopPass is a pass of the core over an instance in which nothing differs.
func BenchmarkNoopPass(b *testing.B) {
	e := open(b, testneed.OwnDocker(b))
	p := newPlant(b, e, archive(b, b.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.apply()
	for b.Loop() {
		p.empty()
	}
}
