package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/gateway"
)

// collection builds the collection for this machine and installs it, once for all tests.
type collection struct {
	once    sync.Once
	path    string // of the collections
	archive string
	err     error
}

func (c *collection) install(dir string) {
	build := exec.Command("make", "-C", filepath.Join("..", ".."), "collection",
		"COLLECTION_DIR="+filepath.Join(dir, "build", "collection"), "COLLECTION_PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
	if out, err := build.CombinedOutput(); err != nil {
		c.err = fmt.Errorf("make collection: %w\n%s", err, out)
		return
	}
	found, err := filepath.Glob(filepath.Join(dir, "build", "*.tar.gz"))
	if err != nil || len(found) != 1 {
		c.err = fmt.Errorf("archives: %v, %w", found, err)
		return
	}
	c.archive, c.path = found[0], filepath.Join(dir, "collections")
	install := exec.Command("ansible-galaxy", "collection", "install", c.archive, "-p", c.path)
	install.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATH="+c.path, "ANSIBLE_HOME="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		c.err = fmt.Errorf("ansible-galaxy: %w\n%s", err, out)
	}
}

var (
	built     collection
	buildRoot string // a folder for it, from TestMain
)

func TestMain(m *testing.M) {
	var err error
	if buildRoot, err = os.MkdirTemp("", "collection"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(buildRoot); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// plant is an instance in this process, and a folder from which playbooks are run against it.
type plant struct {
	t          *testing.T
	dir        string
	docker     string         // address of an engine, where there is one
	options    map[string]any // of an instance on it
	url, token string
	password   string // of admin
	inventory  string
	variables  map[string]string // beside those that every playbook gets
	env        []string
}

// newPlant starts an instance, which ends with the test.
func newPlant(t *testing.T) *plant {
	t.Helper()
	p := newController(t)
	g, token := startInstance(t, gateway.Options{})
	p.url, p.token = g.URL(), token
	return p
}

// newController is a folder from which playbooks are run, without any instance.
func newController(t *testing.T) *plant {
	t.Helper()
	testneed.Program(t, "ansible-playbook")
	testneed.Program(t, "ansible-galaxy")
	built.once.Do(func() { built.install(buildRoot) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	p := &plant{t: t, dir: t.TempDir(), password: adminPassword}
	p.prepare()
	return p
}

const adminPassword = "the-admins-own-password"

// startInstance runs an instance until the test ends, and returns a token of its admin.
func startInstance(t *testing.T, opts gateway.Options) (g *gateway.Gateway, token string) {
	t.Helper()
	opts.DataDir, opts.ListenHTTP, opts.ListenMQTT = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "127.0.0.1:0"
	opts.Log = slog.New(slog.DiscardHandler)
	g, err := gateway.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Control().Bootstrap(t.Context(), adminPassword); err != nil {
		t.Fatal(err)
	}
	issued, err := g.Control().IssueToken(t.Context(), "admin", "tests", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the instance ended with %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, issued.Token
}

// prepare writes what every run needs: no user's own configuration takes part.
func (p *plant) prepare() {
	p.t.Helper()
	playbooks, err := filepath.Abs(filepath.Join("testdata", "playbooks"))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.CopyFS(p.dir, os.DirFS(playbooks)); err != nil {
		p.t.Fatal(err)
	}
	p.inventory = "target ansible_connection=local\n"
	for _, entry := range os.Environ() {
		if !slices.ContainsFunc([]string{"ANSIBLE_", "MILLWRIGHT_", "XDG_", "HOME="}, func(own string) bool { return strings.HasPrefix(entry, own) }) {
			p.env = append(p.env, entry)
		}
	}
	p.env = append(p.env,
		"HOME="+p.dir, "ANSIBLE_COLLECTIONS_PATH="+built.path, "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0",
		"ANSIBLE_CALLBACK_PLUGINS="+filepath.Join(filepath.Dir(playbooks), "callback"), "ANSIBLE_STDOUT_CALLBACK=results",
	)
}

// outcome is one result, as the tests' callback prints it.
type outcome struct {
	Task    string         `json:"task"`
	Host    string         `json:"host"`
	Status  string         `json:"status"`
	Seconds float64        `json:"seconds"`
	Result  map[string]any `json:"result"`
}

// run runs a playbook and returns its results and everything that was printed.
func (p *plant) run(playbook string, flags ...string) (outcomes []outcome, printed string, err error) {
	p.t.Helper()
	p.write("inventory", p.inventory)
	variables := map[string]any{"api_url": p.url, "api_token": p.token, "admin_password": p.password, "target_dir": p.dir, "options": p.options}
	for name, value := range p.variables {
		variables[name] = value
	}
	text, err := json.Marshal(variables)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("variables.json", string(text))
	args := append([]string{"-i", "inventory", "-e", "@variables.json", playbook}, flags...)
	cmd := exec.CommandContext(p.t.Context(), "ansible-playbook", args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	for line := range bytes.Lines(out) {
		var o outcome
		if json.Unmarshal(line, &o) == nil && o.Task != "" {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes, string(out), err
}

// must runs a playbook none of whose tasks may fail.
func (p *plant) must(playbook string, flags ...string) []outcome {
	p.t.Helper()
	outcomes, printed, err := p.run(playbook, flags...)
	for _, o := range outcomes {
		if o.Status == "failed" || o.Status == "item-failed" || o.Status == "unreachable" {
			p.t.Errorf("%s: %s: %v", playbook, o.Task, o.Result)
		}
	}
	if err != nil || len(outcomes) == 0 {
		p.t.Fatalf("%s: %v\n%s", playbook, err, printed)
	}
	return outcomes
}

// changed counts the results that changed something.
func changed(outcomes []outcome) (n int) {
	for _, o := range outcomes {
		if o.Result["changed"] == true && o.Status == "ok" {
			n++
		}
	}
	return n
}

// named returns a task's result.
func (p *plant) named(outcomes []outcome, task string) outcome {
	p.t.Helper()
	for _, o := range outcomes {
		if o.Task == task {
			return o
		}
	}
	p.t.Fatalf("there is no result of %q", task)
	return outcome{}
}

func (p *plant) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// overSSH has playbooks reach the target through a server of its own on loopback.
func (p *plant) overSSH() {
	p.t.Helper()
	server := testneed.Program(p.t, "/usr/sbin/sshd")
	keygen := testneed.Program(p.t, "ssh-keygen")
	if os.Getuid() == 0 { // where a service would have made it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, key := range []string{"host", "user"} {
		out, err := exec.CommandContext(p.t.Context(), keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(p.dir, key)).CombinedOutput()
		if err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err = joined(err, listener.Close()); err != nil {
		p.t.Fatal(err)
	}
	p.write("sshd_config", fmt.Sprintf(`Port %[1]s
ListenAddress 127.0.0.1
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv HOME=%[2]s
Subsystem sftp internal-sftp
`, port, p.dir))
	cmd := exec.Command(server, "-D", "-e", "-f", filepath.Join(p.dir, "sshd_config"))
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(log)
	for listens := false; !listens; {
		if !lines.Scan() {
			p.t.Fatal("the server does not listen")
		}
		listens = strings.Contains(lines.Text(), "Server listening on")
	}
	go func() {
		for lines.Scan() { // until the server is stopped, so that it is never blocked
		}
	}()
	p.inventory = fmt.Sprintf("target ansible_host=127.0.0.1 ansible_port=%s ansible_ssh_private_key_file=%s/user ansible_remote_tmp=%[2]s/tmp\n", port, p.dir)
	p.env = append(p.env, "ANSIBLE_HOST_KEY_CHECKING=0",
		"ANSIBLE_SSH_ARGS=-F none -o ControlMaster=auto -o ControlPersist=20s -o UserKnownHostsFile=/dev/null", "ANSIBLE_SSH_CONTROL_PATH_DIR="+p.sockets())
}

// sockets is a folder for ssh's shared connections, which are ended with the test. Its name
// is short enough for a socket's.
func (p *plant) sockets() string {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "cp")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		shared, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, socket := range shared {
			_ = exec.Command("ssh", "-F", "none", "-o", "ControlPath="+socket, "-O", "exit", "target").Run()
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

func joined(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
