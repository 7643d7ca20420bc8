package provider_test

import (
	"bufio"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/client"
)

// child is `millwright up` in a process of its own.
type child struct {
	t       testing.TB
	dir     string
	program string
	address string
	url     string

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

func newChild(t testing.TB) *child {
	t.Helper()
	c := &child{t: t, dir: t.TempDir(), address: "127.0.0.1:0"}
	c.program = filepath.Join(c.dir, "millwright")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.program, "../cmd/millwright").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "password"), []byte(adminPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.up()
	return c
}

// up starts it, at the address that it had before.
func (c *child) up() {
	c.t.Helper()
	cmd := exec.Command(c.program, "up", "--data", filepath.Join(c.dir, "data"), "--listen-http", c.address, "--listen-mqtt", "127.0.0.1:0",
		"--admin-password-file", filepath.Join(c.dir, "password"))
	cmd.Env = append(os.Environ(), "MILLWRIGHT_CONFIG="+filepath.Join(c.dir, "config.yaml"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.cmd = cmd
	c.mu.Unlock()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, found := strings.CutPrefix(lines.Text(), "API"); found {
			c.url = strings.TrimSpace(url)
			c.address = strings.TrimPrefix(c.url, "http://")
			return
		}
	}
	c.t.Fatal("millwright up does not say its address")
}

// kill ends it as kill -9 does.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.cmd.Wait()         // by the signal
	c.cmd = nil
}

// A server that is killed while 50 services are created 50 at a time leaves a state from which
// the next apply finishes: nothing is there twice, forgotten or left over.
func TestForeignTerraformKilled(t *testing.T) {
	const services = 50
	c := newChild(t)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		c.killAt(services / 5)
	}()
	w := newWorkspace(t)
	w.env = append(w.env, "MILLWRIGHT_USERNAME=admin", "MILLWRIGHT_PASSWORD="+adminPassword)
	w.write("press.yml", testFile(t, "press.yml"))
	w.main(many("provider \"millwright\" {\n  url = \""+c.url+"\"\n}\n", services))
	out, code := w.run("apply", "-auto-approve", "-input=false", "-parallelism=50")
	if code != 1 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	<-killed
	c.up()
	held := strings.Count(w.must("state", "list"), "\n")
	there := c.services()
	if there == services {
		t.Error("nothing was interrupted")
	}
	again := w.must("apply", "-auto-approve", "-input=false", "-parallelism=50")
	t.Logf("after the kill %d services were there, %d in the state; then %s", there, held, regexp.MustCompile(`\d+ added.*`).FindString(again))
	w.settled()
	if n := c.services(); n != services {
		t.Errorf("%d services", n)
	}
	w.must("destroy", "-auto-approve", "-input=false", "-parallelism=50")
	if n := c.services(); n != 0 {
		t.Errorf("after destroy: %d services", n)
	}
}

// login is a client of the child's, and how to close it.
func (c *child) login() (*client.Client, func(), error) {
	anonymous, err := client.New(client.Settings{URL: c.url}, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	session, err := anonymous.Login(c.t.Context(), "admin", adminPassword)
	return anonymous.WithToken(session.Token), anonymous.Close, err
}

// services counts what is installed.
func (c *child) services() int {
	c.t.Helper()
	admin, end, err := c.login()
	if err != nil {
		c.t.Fatal(err)
	}
	defer end()
	all, err := admin.Services().List(c.t.Context(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(all)
}

// killAt kills it as soon as so many services are installed.
func (c *child) killAt(services int) {
	defer c.kill()
	admin, end, err := c.login()
	if err != nil {
		c.t.Error(err)
		return
	}
	defer end()
	for {
		all, err := admin.Services().List(c.t.Context(), nil)
		if err != nil {
			c.t.Error(err)
		}
		if err != nil || len(all) >= services {
			return
		}
	}
}

// A rate limit slows an apply down and fails nothing, and no change is asked for twice that was
// not refused.
func TestForeignTerraformRateLimit(t *testing.T) {
	const services = 60
	i := start(t)
	limit := rateLimit{perSecond: 40}
	var refused, applied atomic.Int32
	front := i.front(func(w http.ResponseWriter, r *http.Request) bool {
		if limit.allows(time.Now()) {
			if r.URL.Path == "/api/v1/apply" {
				applied.Add(1)
			}
			return false
		}
		refused.Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return true
	})
	w := newWorkspace(t)
	w.write("press.yml", testFile(t, "press.yml"))
	w.main(many(block(front, i.token), services))
	w.must("apply", "-auto-approve", "-input=false", "-parallelism=50")
	w.settled()
	t.Logf("%d services, %d requests refused", services, refused.Load())
	if n := applied.Load(); n != services || refused.Load() == 0 {
		t.Errorf("%d changes reached the instance, %d requests were refused", n, refused.Load())
	}
	w.must("destroy", "-auto-approve", "-input=false", "-parallelism=50")
}

// rateLimit counts the requests of each second.
type rateLimit struct {
	perSecond int

	mu     sync.Mutex
	second int64
	seen   int
}

func (l *rateLimit) allows(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Unix() != l.second {
		l.second, l.seen = now.Unix(), 0
	}
	l.seen++
	return l.seen <= l.perSecond
}
