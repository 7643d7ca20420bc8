package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/simonvetter/modbus"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// patience bounds every wait; no test asserts how much of it was used.
const patience = 60 * time.Second

const realImage = "millwright/millwright"

// build links a static program.
func build(t testing.TB, program, pkg, flags string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w "+flags, "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// pack writes an image of a program as an archive.
func pack(t testing.TB, file, reference, arch, program string) string {
	t.Helper()
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = image.Write(&b, image.Options{
		Tag: reference, Arch: arch, Program: binary, Roots: []byte("none\n"), Created: time.Unix(int64(len(reference)), 0),
		Labels: map[string]string{"reference": reference, render.LabelDataFormat: render.DataFormat}, Entrypoint: render.Program, UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// runtimeArchive writes the real image, as `make image` does.
func runtimeArchive(t testing.TB, dir, version string) string {
	t.Helper()
	program := filepath.Join(dir, "runtime-"+version)
	build(t, program, "../../cmd/millwright-runtime", "-X main.version="+version)
	file := filepath.Join(dir, "runtime-"+version+".tar.gz")
	out, err := exec.CommandContext(t.Context(), "go", "run", "../../cmd/millwright-image", "--program", program,
		"--arch", runtime.GOARCH, "--version", version, "--revision", "0123456", "--out", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// machine is a Modbus device whose register counts how often it was read.
type machine struct{ reads atomic.Uint32 }

func (c *machine) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	if r.Quantity != 1 || r.IsWrite {
		return nil, modbus.ErrIllegalDataAddress
	}
	return []uint16{uint16(c.reads.Add(1))}, nil //nolint:gosec // it is not read so often
}

func (c *machine) HandleInputRegisters(*modbus.InputRegistersRequest) ([]uint16, error) {
	return nil, modbus.ErrIllegalFunction
}

func (c *machine) HandleCoils(*modbus.CoilsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

func (c *machine) HandleDiscreteInputs(*modbus.DiscreteInputsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

// gateway is an instance of the real image, with a machine, a service, a role and a user.
type gateway struct {
	*plant
	device  machine
	api     *client.Client
	roots   *x509.CertPool
	address string // address of the device as the containers see it
}

const (
	userPassword = "the-user's-password"
	adminSecret  = "the-admin's-password"
)

func newGateway(t *testing.T, e *Engine, archive string) *gateway {
	t.Helper()
	g := &gateway{plant: newPlant(t, e, archive)}
	g.given.Image, g.given.WaitTimeout = realImage, 120
	password := adminSecret
	g.given.AdminPassword = &password
	n := time.Now().UnixMicro() // tests run side by side
	host := fmt.Sprintf("10.%d.%d", 240+n%10, n/10%250)
	g.given.NetworkMask = host + ".0/27"
	g.address = g.serve(t, host+".1") // the engine's side of the network
	return g
}

// serve starts the device on every address of this host.
func (g *gateway) serve(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	server, err := modbus.NewServer(&modbus.ServerConfiguration{URL: fmt.Sprintf("tcp://0.0.0.0:%d", port), MaxClients: 5, Timeout: time.Minute}, &g.device)
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// connect takes over how the instance is reached.
func (g *gateway) connect() {
	g.t.Helper()
	access, err := g.engine.Access(g.t.Context(), g.plan().Instance)
	if err != nil {
		g.t.Fatal(err)
	}
	g.roots = x509.NewCertPool()
	g.roots.AppendCertsFromPEM([]byte(access.CA))
	g.api, err = client.New(client.Settings{URL: access.URL, CA: []byte(access.CA), Token: access.Token}, "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(g.api.Close)
}

// install has the mapper read the device, and lets a user see it.
func (g *gateway) install() {
	g.t.Helper()
	host, port, err := net.SplitHostPort(g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	file := fmt.Sprintf(`metadata: {name: press, version: "1"}
resources:
  plc:
    type: Cybus::Connection
    properties: {protocol: Modbus, connection: {host: %q, port: %s}}
  reads:
    type: Cybus::Endpoint
    properties:
      protocol: Modbus
      connection: !ref plc
      qos: 1
      subscribe: {fc: 3, address: 0, length: 1, dataType: uint16BE, interval: 50}
`, host, port)
	password := userPassword
	request := plan.Request{
		Roles: []spec.Role{{Name: "operators", Permissions: []spec.Permission{
			{Resource: "line/#", Operation: spec.ReadWrite, Context: spec.MQTT},
			{Resource: "services/press/#", Operation: spec.Read, Context: spec.MQTT},
		}}},
		Users:    []spec.User{{Username: "line1", Password: &password, Roles: []string{"operators"}}},
		Services: []spec.Service{{ID: "press", Commissioning: file}},
		Confirm:  "any", Wait: plan.WaitData, Timeout: "60s",
	}
	if done, err := g.api.Apply(g.t.Context(), request); err != nil || !done.Applied {
		g.t.Fatalf("the service is not installed: %v", err)
	}
	request.Wait, request.Timeout, request.Confirm = "", "", ""
	g.settled(request)
}

// settled fails unless what was installed is there as it was.
func (g *gateway) settled(request plan.Request) {
	g.t.Helper()
	p, err := g.api.Plan(g.t.Context(), request)
	if err != nil || !p.Empty() {
		g.t.Errorf("it is not as it was installed: %v\n%s", err, p)
	}
}

// login connects as the user, over TLS, with a session that outlasts the connection.
func (g *gateway) login(ctx context.Context, id string, receive func(*paho.Publish)) *autopaho.ConnectionManager {
	g.t.Helper()
	server, err := neturl.Parse("mqtts://" + string(g.given.Ports[spec.PortMQTTS]))
	if err != nil {
		g.t.Fatal(err)
	}
	c := autopaho.ClientConfig{
		ServerUrls: []*neturl.URL{server}, TlsCfg: &tls.Config{RootCAs: g.roots, MinVersion: tls.VersionTLS12}, KeepAlive: 10,
		ConnectUsername: "line1", ConnectPassword: []byte(userPassword), SessionExpiryInterval: 3600,
		ReconnectBackoff: func(int) time.Duration { return 20 * time.Millisecond },
		ClientConfig: paho.ClientConfig{
			ClientID: id,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				receive(r.Packet)
				return true, nil
			}},
		},
	}
	m, err := autopaho.NewConnection(ctx, c)
	if err == nil {
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err = m.AwaitConnection(wait)
	}
	if err != nil {
		g.t.Fatalf("the user cannot log in: %v", err)
	}
	return m
}

func subscribe(t testing.TB, m *autopaho.ConnectionManager, filter string) {
	t.Helper()
	if _, err := m.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
}

func publish(t testing.TB, m *autopaho.ConnectionManager, topic, text string, retain bool) {
	t.Helper()
	if _, err := m.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Retain: retain, Payload: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// numbers are what a subscriber has received.
type numbers struct {
	mu   sync.Mutex
	seen map[int]bool
	list []int
}

func (n *numbers) take(p *paho.Publish) {
	number, err := strconv.Atoi(string(p.Payload))
	if err != nil { // the value of an endpoint
		var m struct {
			Value int `json:"value"`
		}
		if json.Unmarshal(p.Payload, &m) != nil {
			return
		}
		number = m.Value
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[int]bool{}
	}
	if !n.seen[number] { // QoS 1: it may come again
		n.list = append(n.list, number)
	}
	n.seen[number] = true
}

func (n *numbers) last() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return 0
	}
	return n.list[len(n.list)-1]
}

// missing lists those of 1 to most that have not come.
func (n *numbers) missing(most int) []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []int
	for i := 1; i <= most; i++ {
		if !n.seen[i] {
			list = append(list, i)
		}
	}
	return list
}

func until(t testing.TB, what string, done func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s: %v", what, err)
		}
	}
}

// flows waits until values of the machine arrive that were read from now on.
func (g *gateway) flows(values *numbers) {
	g.t.Helper()
	from := int(g.device.reads.Load()) + 3
	until(g.t, "values of the machine", func() error {
		if got := values.last(); got < from {
			return fmt.Errorf("got %d, want %d", got, from)
		}
		return nil
	})
}

// traffic is a publisher that goes on whatever happens, and a watcher of control.
type traffic struct {
	stop         context.CancelFunc
	ended        sync.WaitGroup
	acknowledged int
	brokerGap    time.Duration // the longest time between two acknowledgements
	controlGap   time.Duration // the longest time without an answer
}

func (g *gateway) traffic(m *autopaho.ConnectionManager) *traffic {
	ctx, stop := context.WithCancel(g.t.Context())
	x := &traffic{stop: stop}
	x.ended.Go(func() {
		last := time.Now()
		for n := 1; ctx.Err() == nil; {
			once, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := m.Publish(once, &paho.Publish{Topic: "line/numbers", QoS: 1, Payload: []byte(strconv.Itoa(n))})
			if err != nil {
				_ = m.AwaitConnection(once) // then the same number again
				cancel()
				continue
			}
			cancel()
			x.acknowledged = n
			x.brokerGap = max(x.brokerGap, time.Since(last))
			last = time.Now()
			n++
		}
	})
	x.ended.Go(func() {
		last := time.Now()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if g.api.Alive(ctx) {
				x.controlGap = max(x.controlGap, time.Since(last))
				last = time.Now()
			}
			<-tick.C
		}
	})
	return x
}

func (x *traffic) end() {
	x.stop()
	x.ended.Wait()
}

// watch collects which parts' containers are made, end and start, in order, as often as the
// part changes, until the record is replaced.
func watch(t *testing.T, e *Engine, instance string) (parts func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	messages, failed := e.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("label", render.LabelInstance+"="+instance))})
	var list []string
	var ended sync.WaitGroup
	seen := make(chan struct{}, 1)
	ended.Go(func() {
		for {
			select {
			case m := <-messages:
				if !slices.Contains([]events.Action{"create", "die", "start", "destroy"}, m.Action) || m.Actor.Attributes[labelRole] == roleBackup {
					continue
				}
				part := m.Actor.Attributes[render.LabelPart]
				if m.Action != "destroy" && (len(list) == 0 || list[len(list)-1] != part) {
					list = append(list, part)
				}
				if part == "" && m.Action == "destroy" {
					seen <- struct{}{} // the record is replaced last
				}
			case err := <-failed:
				if ctx.Err() == nil {
					t.Errorf("the engine's events end: %v", err)
				}
				return
			}
		}
	})
	return func() []string {
		select {
		case <-seen:
		case <-time.After(patience):
			t.Error("the record was not replaced")
		}
		cancel()
		ended.Wait()
		return list
	}
}

// An upgrade of the real image under load: containers are replaced one by one, nothing is lost,
// and an image that does not work is rolled back.
func TestForeignUpgrade(t *testing.T) {
	t.Parallel()
	host := testneed.OwnDocker(t)
	e := open(t, host)
	dir := t.TempDir()
	first, second := runtimeArchive(t, dir, "1.0.0"), runtimeArchive(t, dir, "1.1.0")
	bystander := newPlant(t, e, archive(t, dir, "1.0.0", "well", runtime.GOARCH))
	bystander.apply()
	untouched := bystander.identities()

	g := newGateway(t, e, first)
	g.apply()
	g.connect()
	g.install()
	restrained(t, g)

	var live, stored, values numbers
	subscribe(t, g.login(t.Context(), "live", live.take), "line/numbers")
	subscribe(t, g.login(t.Context(), "values", values.take), "services/press/reads")
	publisher := g.login(t.Context(), "publisher", func(*paho.Publish) {})
	g.store(publisher, &stored)
	g.flows(&values)

	t.Run("upgrade", func(t *testing.T) {
		g.t = t
		before := g.identities()
		load, order := g.traffic(publisher), watch(t, e, g.given.Name)
		g.given.Version, g.given.ImageArchive = "1.1.0", second
		has(t, g.apply(), "version: \"1.0.0\" → \"1.1.0\"", "± instance/NAME/container/broker: image changed")
		g.flows(&values)
		load.end()
		t.Logf("%d numbers acknowledged; the broker was away for %s, control for %s", load.acknowledged,
			load.brokerGap.Round(time.Millisecond), load.controlGap.Round(time.Millisecond))
		g.kept(before, "control", "broker", "mapper")
		if got := order(); !slices.Equal(got, []string{"control", "broker", "mapper", ""}) {
			t.Errorf("the containers were touched in the order %v", got)
		}
		until(t, "every acknowledged number", func() error {
			if missing := live.missing(load.acknowledged); len(missing) > 0 {
				return fmt.Errorf("%d of %d are missing, the first %d", len(missing), load.acknowledged, missing[0])
			}
			return nil
		})
		g.remains(&stored)
	})
	t.Run("rollback", func(t *testing.T) { g.t = t; g.rollsBack(dir, &values) })
	t.Run("compose", func(t *testing.T) { g.t = t; g.composed(host, &values) })
	t.Run("admin", func(t *testing.T) { g.t = t; g.changesAdmin(t) })
	t.Run("drift", func(t *testing.T) { g.t = t; g.drifts(&values) })
	bystander.kept(untouched)
}

// store leaves a retained message and a session with messages that wait in it.
func (g *gateway) store(publisher *autopaho.ConnectionManager, stored *numbers) {
	g.t.Helper()
	publish(g.t, publisher, "line/recipe", "steel", true)
	sleeper := g.login(g.t.Context(), "sleeper", stored.take)
	subscribe(g.t, sleeper, "line/orders")
	if err := sleeper.Disconnect(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	for n := range 50 {
		publish(g.t, publisher, "line/orders", strconv.Itoa(n+1), false)
	}
}

// remains fails unless the role, the user, the service, the retained message and the stored
// session are there.
func (g *gateway) remains(stored *numbers) {
	t := g.t
	t.Helper()
	service, err := g.api.Services().Get(t.Context(), "press")
	if err != nil || service.State != "enabled" {
		t.Errorf("the service is %q, %v", service.State, err)
	}
	user, err := g.api.Users().Get(t.Context(), "line1")
	if err != nil || !slices.Equal(user.Roles, []string{"operators"}) {
		t.Errorf("the user has the roles %v, %v", user.Roles, err)
	}
	recipe := make(chan string, 1)
	reader := g.login(t.Context(), "reader", func(p *paho.Publish) { recipe <- string(p.Payload) })
	subscribe(t, reader, "line/recipe")
	select {
	case got := <-recipe:
		if got != "steel" {
			t.Errorf("the retained message is %q", got)
		}
	case <-time.After(patience):
		t.Error("the retained message is gone")
	}
	g.login(t.Context(), "sleeper", stored.take) // its session is resumed
	until(t, "the stored messages", func() error {
		if missing := stored.missing(50); len(missing) > 0 {
			return fmt.Errorf("missing %v", missing)
		}
		return nil
	})
	if !slices.IsSorted(stored.list) {
		t.Errorf("they came in the order %v", stored.list)
	}
}

// rollsBack upgrades to an image that ends, and to one that never becomes healthy.
func (g *gateway) rollsBack(dir string, values *numbers) {
	for _, mode := range []string{"crash", "sick"} {
		program := filepath.Join(dir, "standin-"+mode)
		build(g.t, program, "./testdata/standin", "-X main.mode="+mode)
		before := g.identities()
		given := g.given
		given.Version, given.WaitTimeout = "2.0.0-"+mode, 5
		given.ImageArchive = pack(g.t, filepath.Join(dir, mode+".tar"), realImage+":"+given.Version, runtime.GOARCH, program)
		pass, err := g.engine.Plan(g.t.Context(), given, testDefaults())
		if err != nil {
			g.t.Fatal(err)
		}
		done, err := g.engine.Apply(g.t.Context(), pass, nil)
		if err == nil {
			g.t.Fatalf("a %s image was taken:\n%s", mode, done)
		}
		has(g.t, g.named(err.Error()), "cannot bring up container NAME-control-1", fmt.Sprintf("  line 11 of a %s one\n", mode),
			fmt.Sprintf("  line 30 of a %s one\nthe previous container NAME-control-1 was put back", mode))
		if strings.Contains(err.Error(), "line 10 of") {
			g.t.Errorf("more than the last lines are shown: %v", err)
		}
		g.kept(map[string]string{"control": "put back, so started again", "broker": before["broker"], "mapper": before["mapper"]}, "control")
		g.empty()
		g.flows(values)
		until(g.t, "the service is enabled", func() error {
			service, err := g.api.Services().Get(g.t.Context(), "press")
			if err == nil && service.State != "enabled" {
				err = fmt.Errorf("it is %s", service.State)
			}
			return err
		})
	}
}

// composed has docker compose take the instance down and bring it up again.
func (g *gateway) composed(host string, values *numbers) {
	compose := composeOf(g.t, g.plant, host)
	compose("config", "--quiet")
	if got := strings.Fields(compose("ps", "--services")); len(got) != 3 {
		g.t.Errorf("compose sees the services %v", got)
	}
	before := g.identities()
	compose("up", "--detach", "--no-recreate")
	g.kept(before)
	compose("down")
	compose("up", "--detach")
	g.flows(values)
	g.empty()
}

// drifts harms the instance in ways of which only the real parts can tell whether they are mended.
func (g *gateway) drifts(values *numbers) {
	api, ctx := g.engine.api, g.t.Context()
	harm := func(part string, do func(container string) error, want ...string) {
		g.t.Helper()
		before := g.identities()
		if err := do(g.container(part)); err != nil {
			g.t.Fatal(err)
		}
		has(g.t, g.apply(), want...)
		if part == "broker" { // the session went with its volume
			subscribe(g.t, g.login(ctx, "anew", values.take), "services/press/reads")
		}
		g.flows(values)
		g.kept(before, part)
	}
	loseVolume := func(part string) func(string) error {
		return func(container string) error {
			return errors.Join(g.engine.removeContainer(ctx, container), api.VolumeRemove(ctx, g.given.Name+"_"+part, false))
		}
	}
	harm("mapper", loseVolume("mapper"), "~ instance/NAME/secrets: join/protocol-mapper is made anew with its volume",
		"+ instance/NAME/volume/NAME_mapper: was removed outside", "+ instance/NAME/container/mapper: was removed outside")
	harm("broker", loseVolume("broker"), "~ instance/NAME/secrets: join/broker is made anew with its volume",
		"+ instance/NAME/volume/NAME_broker: was removed outside")

	// Control's volume holds everything that was installed, and the authority: the others join anew.
	before := g.identities()
	if err := loseVolume("control")(g.container("control")); err != nil {
		g.t.Fatal(err)
	}
	has(g.t, g.apply(), "+ instance/NAME/volume/NAME_control: was removed outside", "+ instance/NAME/container/control: was removed outside")
	g.connect()
	g.install()
	subscribe(g.t, g.login(ctx, "again", values.take), "services/press/reads")
	g.flows(values)
	g.kept(before, "control")
}

// restrained looks at what the containers may do, as the engine shows it and as the kernel does.
func restrained(t *testing.T, g *gateway) {
	t.Helper()
	i, err := g.engine.api.ImageInspect(t.Context(), realImage+":1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %.1f MB", float64(i.Size)/1e6)
	if i.Size > 40_000_000 || i.Config.User != "10001:10001" || i.Os != "linux" || i.Architecture != runtime.GOARCH {
		t.Errorf("the image has %d bytes, runs as %q, on %s/%s", i.Size, i.Config.User, i.Os, i.Architecture)
	}
	for _, label := range []string{"title", "description", "version", "revision", "created", "source", "licenses"} {
		if i.Config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("the image has no label %s", label)
		}
	}
	for _, part := range []string{"control", "broker", "mapper"} {
		c, err := g.engine.api.ContainerInspect(t.Context(), g.container(part))
		if err != nil {
			t.Fatal(err)
		}
		h := c.HostConfig
		if c.Config.User != "10001:10001" || !h.ReadonlyRootfs || h.Privileged || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) > 0 ||
			!slices.Equal(h.SecurityOpt, []string{"no-new-privileges:true"}) || h.Memory == 0 || len(h.Binds) > 0 {
			t.Errorf("%s may do too much: %s, %+v", part, c.Config.User, h)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.State.Pid))
		if err != nil {
			t.Fatal(err)
		}
		has(t, string(status), "Uid:\t10001\t10001\t10001\t10001", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1")
	}
}
