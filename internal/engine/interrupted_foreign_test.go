package engine

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// everyCut has the passes cut after every call, which takes some minutes.
var everyCut = flag.Bool("every-cut", false, "cut passes after every call to the engine, not after some")

var errCut = errors.New("the program is dead")

// cutting lets so many changes through to the engine, and from then on nothing: what a kill -9
// leaves behind.
type cutting struct {
	next http.RoundTripper
	left atomic.Int64
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.Contains(r.URL.Path, "exec")
	if changes && c.left.Add(-1) < 0 || c.left.Load() < 0 {
		return nil, errCut
	}
	return c.next.RoundTrip(r)
}

// cut is a connection to the same engine that breaks after so many changes.
func cut(t *testing.T, e *Engine, changes int) *Engine {
	t.Helper()
	c := &cutting{next: e.api.HTTPClient().Transport}
	c.left.Store(int64(changes))
	api, err := client.NewClientWithOpts(client.WithHost(e.host), client.WithHTTPClient(&http.Client{Transport: c}), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return &Engine{api: api, log: e.log, host: e.host, local: e.local, by: endedMaker(t)}
}

// whole fails unless exactly the instance's containers are there, each once, running what it
// shall, and the data is.
func (p *plant) whole(t *testing.T) {
	t.Helper()
	o := p.plan().actual
	if len(o.Leftovers) > 0 || len(o.setAside) > 0 {
		t.Errorf("left over: %v, %v", o.Leftovers, o.setAside)
	}
	var parts []string
	for _, c := range o.Containers {
		if !c.Running || c.Name != p.container(c.Part) {
			t.Errorf("%s is %s, %s", c.Part, c.Name, c.Status)
		}
		parts = append(parts, c.Part)
	}
	if want := p.plan().Instance.Parts(); !slices.Equal(parts, want) {
		t.Errorf("there are %v, not %v", parts, want)
	}
	p.running(t)
	for _, part := range parts {
		text, err := p.engine.readFile(t.Context(), p.container(part), render.DataDir+"/kept")
		if err != nil || text != part {
			t.Errorf("the data of %s is %q, %v", part, text, err)
		}
	}
}

// running lists the parts whose containers run; it fails where two of one do.
func (p *plant) running(t *testing.T) []string {
	t.Helper()
	list, err := p.engine.api.ContainerList(t.Context(), container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", render.LabelInstance+"="+p.given.Name))})
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, c := range list {
		parts = append(parts, c.Labels[render.LabelPart])
	}
	slices.Sort(parts)
	if once := slices.Compact(slices.Clone(parts)); len(once) < len(parts) {
		t.Errorf("more than one of a part runs: %v", parts)
	}
	return parts
}

// keepData puts a file into each part's volume.
func (p *plant) keepData(t *testing.T) {
	t.Helper()
	for _, c := range p.plan().actual.Containers {
		content, err := secretsArchive([]plan.Secret{{Name: "kept", Content: []byte(c.Part)}})
		if err == nil {
			err = p.engine.api.CopyToContainer(t.Context(), c.ID, render.DataDir, content, container.CopyToContainerOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cuts are passes that are cut after ever more changes, until one is done before.
type cuts struct {
	stride int
	change func()             // declares what the pass is to bring
	broken func(t *testing.T) // is done after a pass that was cut
	mended func(t *testing.T) // is done after the next one, which is whole
}

func (p *plant) eachCut(t *testing.T, c cuts) {
	t.Helper()
	if *everyCut {
		c.stride = 1
	}
	for changes := 0; ; changes += c.stride {
		c.change()
		broken := cut(t, p.engine, changes)
		pass, err := broken.Plan(t.Context(), p.given, testDefaults())
		if err != nil {
			t.Fatal(err)
		}
		_, err = broken.Apply(t.Context(), pass, nil)
		done := err == nil
		if err != nil && !strings.Contains(err.Error(), errCut.Error()) {
			t.Fatalf("after %d changes: %v", changes, err)
		}
		p.running(t)
		if !done && c.broken != nil {
			c.broken(t)
		}
		if p.apply(); c.mended != nil {
			c.mended(t)
		}
		if p.whole(t); t.Failed() {
			t.Fatalf("this pass was cut after %d changes:\n%s", changes, pass.Plan)
		}
		if done {
			t.Logf("%d changes, cut after every %d", changes, c.stride)
			return
		}
	}
}

// Whatever call to the engine was the last one of a program that was killed, the next pass
// brings what was declared, and loses nothing.
func TestForeignCut(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	p := newPlant(t, e, archive(t, dir, "1.0.0", "well", runtime.GOARCH))
	crash := archive(t, dir, "2.0.0", "crash", runtime.GOARCH)

	t.Run("creation", func(t *testing.T) {
		p.t = t
		p.eachCut(t, cuts{stride: 10, change: func() {
			p.apply(func(i *spec.Instance) { i.State, i.DeleteVolumes = spec.Absent, true })
		}, mended: p.keepData})
	})
	t.Run("one container", func(t *testing.T) {
		p.t = t
		p.eachCut(t, cuts{stride: 2, change: func() {
			if len(p.given.Devices) > 0 {
				p.given.Devices = []string{}
			} else {
				p.given.Devices = []string{"/dev/null"}
			}
		}})
	})
	t.Run("ports that are swapped", func(t *testing.T) {
		p.t = t
		p.eachCut(t, cuts{stride: 5, change: p.swap})
	})
	t.Run("then an image that crashes", func(t *testing.T) {
		p.t = t
		ports := []spec.Port{p.given.Ports[spec.PortHTTPS], freePort(t)}
		p.eachCut(t, cuts{stride: 5, change: func() {
			slices.Reverse(ports)
			p.given.Ports[spec.PortHTTPS] = ports[0]
		}, broken: func(t *testing.T) {
			given := p.given
			given.Version, given.ImageArchive = "2.0.0", crash
			pass, err := e.Plan(t.Context(), given, testDefaults())
			if err != nil {
				t.Fatal(err)
			}
			if done, err := e.Apply(t.Context(), pass, nil); err == nil || !strings.Contains(err.Error(), "was put back") {
				t.Fatalf("got %v\n%s", err, done)
			}
			if now := p.running(t); !slices.Equal(now, []string{"broker", "control", "mapper"}) {
				t.Errorf("only %v run", now)
			}
		}})
	})
	t.Run("network", func(t *testing.T) {
		p.t = t
		third := os.Getpid() % 250 // so that two runs on one host do not meet
		masks := []string{fmt.Sprintf("10.253.%d.0/27", third), fmt.Sprintf("10.253.%d.64/27", third)}
		p.eachCut(t, cuts{stride: 14, change: func() {
			slices.Reverse(masks)
			p.given.NetworkMask = masks[0]
		}})
	})
	t.Run("lost volume", func(t *testing.T) {
		p.t = t
		var before []byte
		p.eachCut(t, cuts{stride: 2, change: func() {
			before = p.secret(t, "join/broker")
			p.loseVolume(t, "broker")
		}, mended: func(t *testing.T) {
			if bytes.Equal(before, p.secret(t, "join/broker")) {
				t.Error("the join token is the one that was traded")
			}
			p.keepData(t)
		}})
	})
}

// swap has https and mqtts exchange their ports.
func (p *plant) swap() {
	ports := p.given.Ports
	ports[spec.PortHTTPS], ports[spec.PortMQTTS] = ports[spec.PortMQTTS], ports[spec.PortHTTPS]
}

// Ports change hands within one pass, and what fails or is broken off is undone together: all
// parts are of one version.
func TestForeignPutBackTogether(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	p := newPlant(t, e, archive(t, dir, "1.0.0", "well", runtime.GOARCH))
	p.apply()
	p.keepData(t)
	before := p.identities()
	p.swap()
	has(t, p.apply(), "± instance/NAME/container/control: ports[\"8443\"] changed", "± instance/NAME/container/broker: ports[\"8883\"] changed")
	p.kept(before, "control", "broker")
	p.whole(t)

	p.swap()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reported []string
	done, err := e.Apply(ctx, p.plan(), func(s plan.Step) {
		reported = append(reported, p.named(s.Address)+" "+string(s.Result))
		if strings.HasSuffix(s.Address, "/container/control") {
			cancel()
		}
	})
	if err == nil || !strings.Contains(p.named(err.Error()), "the previous containers NAME-control-1, NAME-broker-1 were put back") {
		t.Errorf("got %v", err)
	}
	has(t, p.named(done.String()), "container/control: ", "it was put back: a later step failed")
	want := []string{"instance/NAME/container/control done", "instance/NAME/container/control failed", "instance/NAME/container/broker failed"}
	if !slices.Equal(reported[:min(3, len(reported))], want) {
		t.Errorf("reported: %v", reported)
	}
	p.swap()
	p.empty()
	p.whole(t)

	ids := p.ids()
	pass := p.plan(func(i *spec.Instance) { // of which the mapper alone is never healthy
		i.Version, i.WaitTimeout, i.ImageArchive = "1.1.0", 3, archive(t, dir, "1.1.0", "spoil", runtime.GOARCH)
	})
	done, err = e.Apply(t.Context(), pass, nil)
	if err == nil || !strings.Contains(p.named(err.Error()), "the previous containers NAME-control-1, NAME-broker-1, NAME-mapper-1 were put back") {
		t.Errorf("got %v", err)
	}
	has(t, p.named(done.String()), "container/control: image changed [failed]", "container/broker: image changed [failed]", "container/mapper: image changed [failed]")
	if now := p.ids(); !maps.Equal(ids, now) {
		t.Errorf("not the containers of before run: %v, %v", ids, now)
	}
	p.empty()
	p.whole(t)
}

// ids are those of the containers, by part.
func (p *plant) ids() map[string]string {
	ids := map[string]string{}
	for part, identity := range p.identities() {
		ids[part], _, _ = strings.Cut(identity, " ")
	}
	return ids
}

// secret reads one of the instance's secrets.
func (p *plant) secret(t *testing.T, name string) []byte {
	t.Helper()
	list, err := p.engine.readSecrets(t.Context(), p.plan().actual.recordID)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s plan.Secret) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no secret %s", name)
	}
	return bytes.Clone(list[i].Content)
}

// loseVolume removes a part's container, and its data.
func (p *plant) loseVolume(t *testing.T, part string) {
	t.Helper()
	if err := errors.Join(p.engine.removeContainer(t.Context(), p.container(part)), p.engine.api.VolumeRemove(t.Context(), p.given.Name+"_"+part, false)); err != nil {
		t.Fatal(err)
	}
}
