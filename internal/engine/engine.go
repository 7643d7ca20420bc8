// Package engine observes an instance on a Docker engine, plans what differs from its
// settings (package plan), and applies the plan. It is the one package that speaks to the
// engine, through its API; no docker or compose program is needed on the host.
//
// Containers are replaced only when they must be, one by one, each healthy before the next;
// one that does not become healthy is put back as it was.
package engine

import (
	"cmp"
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
	local bool       // its file system and network are this process's
	ssh   *sshDialer // what it is reached by; nil: directly
	at    string     // name or address of the host of an engine that is not local
	by    string     // names this process on what it leaves on the engine
}

// Options say which engine.
type Options struct {
	// Host is unix://, ssh://, tcp:// (over TLS with the certificates in DOCKER_CERT_PATH), or
	// empty: DOCKER_HOST, the system's socket, or the user's own.
	Host   string
	Getenv func(string) string
	Log    *slog.Logger
}

// Open connects and makes sure that the engine answers. Errors are of kind unavailable (no
// engine), forbidden (no permission) or invalid (not an address), and say what to do.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{log: o.Log, host: findHost(o), by: maker()}
	options, err := e.options(ctx, o)
	if err != nil {
		return nil, err
	}
	if e.api, err = client.NewClientWithOpts(append(options, client.WithAPIVersionNegotiation())...); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use docker_host %q: %w", e.host, err)
	}
	if _, err := e.api.Ping(ctx); err != nil {
		return nil, errors.Join(e.unreachable(err), e.api.Close())
	}
	return e, nil
}

// options are those of the engine's client, by the kind of address.
func (e *Engine) options(ctx context.Context, o Options) (_ []client.Opt, err error) {
	u, err := neturl.Parse(e.host)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use docker_host: it is unix://PATH, %s or tcp://HOST:PORT", sshForm)
	}
	options := []client.Opt{client.WithHost(e.host)}
	switch u.Scheme {
	case "unix", "npipe":
		e.local = true
		return options, nil
	case "ssh":
		if e.ssh, err = newSSHDialer(u); err != nil {
			return nil, err
		}
		e.at = cmp.Or(e.ssh.hostname(ctx), u.Hostname())
		return e.ssh.options(), nil
	case "tcp":
		e.at = u.Hostname()
		if dir := o.Getenv("DOCKER_CERT_PATH"); dir != "" {
			options = append(options, client.WithTLSClientConfig(
				filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
		}
		return options, nil
	}
	return nil, spec.Errorf(spec.Invalid, "cannot use docker_host %q: it is unix://PATH, %s or tcp://HOST:PORT", u.Redacted(), sshForm)
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
	case e.ssh != nil:
		return e.ssh.unreachable(e.host, err)
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
