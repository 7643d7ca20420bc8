package compare

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/loadgen"
)

// The contenders' names.
const (
	ours           = "millwright"
	mosquitto      = "mosquitto"
	mosquittoTuned = "mosquitto tuned" // max_inflight_messages 0, set_tcp_nodelay true
	natsServer     = "nats-server"
)

// PasswordVariable is the environment variable by which a broker under load learns the password.
const PasswordVariable = "MILLWRIGHT_LOAD_PASSWORD"

// Programs are where the servers are.
type Programs struct {
	Load      string // the load generator itself, whose serve command is our broker
	Mosquitto string
	NATS      string
}

// start starts the contender in an empty directory and returns before it serves.
func (p *Programs) start(ctx context.Context, name, dir string) (*process, error) {
	switch name {
	case ours:
		return p.startOurs(ctx, dir, rand.Text())
	case mosquitto:
		return p.startMosquitto(ctx, dir, "")
	case mosquittoTuned:
		return p.startMosquitto(ctx, dir, "max_inflight_messages 0\nset_tcp_nodelay true\n")
	case natsServer:
		address, port, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(p.NATS, "--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--log", filepath.Join(dir, "log"))
		return launch(cmd, server(loadgen.NATS, address, ""))
	}
	return nil, fmt.Errorf("cannot start %q: no such server", name)
}

func (p *Programs) startOurs(ctx context.Context, dir, password string) (*process, error) {
	address, _, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Load, "serve", "--data", dir, "--listen", address)
	cmd.Env = append(os.Environ(), PasswordVariable+"="+password)
	return launch(cmd, server(loadgen.MQTT311, address, password))
}

// startMosquitto starts it without durability: nothing is written, and no queue is bounded.
func (p *Programs) startMosquitto(ctx context.Context, dir, more string) (*process, error) {
	address, port, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_connections -1\nlog_type error\n%s", port, more)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return launch(exec.Command(p.Mosquitto, "-c", config), server(loadgen.MQTT311, address, ""))
}

// versions returns what is compared, "?" for a program that does not tell.
func (p *Programs) versions(ctx context.Context) []string {
	ask := func(name string, args ...string) string {
		// mosquitto's -h, the only way to learn its version, exits with 3.
		out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
		line, _, _ := strings.Cut(string(out), "\n")
		return cmp.Or(strings.TrimSpace(line), "?")
	}
	return []string{ask(p.Mosquitto, "-h"), ask(p.NATS, "--version")}
}
