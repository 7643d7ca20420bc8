// Package engine observes an instance on a Docker engine, plans what differs from its
// settings (package plan), and applies the plan. It is the one package that speaks to the
// engine, through its API; no docker or compose program is needed on the host.
//
// Containers are replaced only when they must be, one by one, each healthy before the next;
// one that does not become healthy is put back as it was.
package engine

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/docker/docker/client"

	"github.com/millwright/millwright/internal/spec"
)

// Engine is a connection to one Docker engine. Close it.
type Engine struct {
	api   *client.Client
	log   *slog.Logger
	host  string
	local bool // its file system and network are this process's
}

// Options say which engine.
type Options struct {
	// Host is unix://, tcp:// (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as docker has
	// them), or empty: DOCKER_HOST, the system's socket, or the user's own.
	Host   string
	Getenv func(string) string
	Log    *slog.Logger
}

// Open connects and makes sure that the engine answers. Errors are of kind unavailable (no
// engine), forbidden (no permission) or invalid (not an address), and say what to do.
func Open(ctx context.Context, o Options) (*Engine, error) {
	host := findHost(o)
	u, err := neturl.Parse(host)
	if err != nil || u.Scheme != "unix" && u.Scheme != "tcp" && u.Scheme != "npipe" {
		return nil, spec.Errorf(spec.Invalid, "cannot use docker_host %q: it is unix://PATH or tcp://HOST:PORT", host)
	}
	options := []client.Opt{client.WithHost(host), client.WithAPIVersionNegotiation()}
	if dir := o.Getenv("DOCKER_CERT_PATH"); dir != "" && u.Scheme == "tcp" {
		options = append(options, client.WithTLSClientConfig(
			filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	}
	api, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use docker_host %q: %w", host, err)
	}
	e := &Engine{api: api, log: o.Log, host: host, local: u.Scheme != "tcp"}
	if _, err := api.Ping(ctx); err != nil {
		return nil, errors.Join(e.unreachable(err), api.Close())
	}
	return e, nil
}

// Close ends the connection.
func (e *Engine) Close() error { return e.api.Close() }

// findHost is the engine's address as docker itself would find it; where the system has none,
// the socket of the user's own (rootless) engine.
func findHost(o Options) string {
	if o.Host != "" {
		return o.Host
	}
	if host := o.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	system := strings.TrimPrefix(client.DefaultDockerHost, "unix://")
	own := filepath.Join(o.Getenv("XDG_RUNTIME_DIR"), "docker.sock")
	if _, err := os.Stat(system); err != nil && filepath.IsAbs(own) {
		if _, err := os.Stat(own); err == nil {
			return "unix://" + own
		}
	}
	return client.DefaultDockerHost
}

// unreachable says why the engine does not answer, and what to do.
func (e *Engine) unreachable(err error) error {
	path := strings.TrimPrefix(e.host, "unix://")
	switch {
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "permission denied"):
		return spec.Errorf(spec.Forbidden, "cannot use the Docker engine at %s: permission denied", e.host).
			WithHint("run as root (in a playbook: become: true), or add the user to the group docker and log in again")
	case e.local && !exists(path):
		return spec.Errorf(spec.Unavailable, "cannot find a Docker engine: there is no %s", path).
			WithHint("install Docker (Debian: apt-get install docker.io), or name another engine by docker_host")
	case e.local:
		return spec.Errorf(spec.Unavailable, "cannot reach the Docker engine at %s: nothing answers", e.host).
			WithHint("start it: systemctl start docker")
	}
	return spec.Errorf(spec.Unavailable, "cannot reach the Docker engine at %s: %w", e.host, err).
		WithHint("see that docker_host is right and, for tcp://, that DOCKER_CERT_PATH names its certificates")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
