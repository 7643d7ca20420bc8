package engine

import (
	"archive/tar"
	"cmp"
	"context"
	"io"
	"net"
	neturl "net/url"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// The files that control leaves in its volume for whoever deploys it.
const (
	tokenFile     = "admin-token"
	authorityFile = "pki/ca.crt"
)

// Access is how a running instance is spoken to. Token is secret; a context file keeps it.
type Access struct {
	URL   string // empty: the instance publishes no https
	CA    string // PEM of the instance's own authority
	Token string
}

// Access reads an instance's authority and the deployer's token out of control's volume, through
// the engine. An instance that is not there, or has not made them yet, is of kind not_found.
func (e *Engine) Access(ctx context.Context, i spec.Instance) (Access, error) {
	control := i.Name + "-" + spec.PartControl + "-1"
	a := Access{URL: e.URL(i)}
	for name, to := range map[string]*string{tokenFile: &a.Token, authorityFile: &a.CA} {
		text, err := e.readFile(ctx, control, path.Join(render.DataDir, name))
		if err != nil {
			return Access{}, err
		}
		*to = text
	}
	a.Token = strings.TrimSpace(a.Token)
	return a, nil
}

// AdminPassword reads the first admin's password out of the instance's secrets.
func (e *Engine) AdminPassword(ctx context.Context, instance string) (string, error) {
	return e.readFile(ctx, recordName(instance), path.Join(render.SecretsDir, render.SecretAdminPassword))
}

// URL is where the API of an instance is, or will be, for a program on this host; empty: the
// instance publishes no https.
func (e *Engine) URL(i spec.Instance) string {
	if e.local {
		return url(i, "localhost", false)
	}
	return url(i, cmp.Or(i.Hostname, e.at), i.Hostname != "")
}

// url takes the engine's host for an address that stands for every one of its own, and a host that
// is named for every one that others can reach. What only that host can reach is at localhost there,
// and through a tunnel here.
func url(i spec.Instance, engine string, named bool) string {
	address, number, err := i.Ports[spec.PortHTTPS].Split()
	if err != nil {
		return ""
	}
	host := address
	switch ip := net.ParseIP(address); {
	case ip != nil && ip.IsLoopback():
		host = "localhost"
	case ip == nil || ip.IsUnspecified() || named:
		host = engine
	}
	if number != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(int(number)))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host
}

// readFile reads one small file of a container, running or not.
func (e *Engine) readFile(ctx context.Context, name, file string) (string, error) {
	stream, _, err := e.api.CopyFromContainer(ctx, name, file)
	if errdefs.IsNotFound(err) {
		return "", spec.Errorf(spec.NotFound, "cannot read %s of container %s: it is not there", file, name).
			WithHint("see that the instance is started and healthy")
	}
	if err != nil {
		return "", e.failed("read "+file+" of container "+name, err)
	}
	defer stream.Close() //nolint:errcheck // it was only read
	archive := tar.NewReader(stream)
	if _, err := archive.Next(); err != nil {
		return "", e.failed("read "+file+" of container "+name, err)
	}
	text, err := io.ReadAll(io.LimitReader(archive, maxSecret))
	if err != nil {
		return "", e.failed("read "+file+" of container "+name, err)
	}
	return string(text), nil
}

// Remote is the host name of an engine that is not this machine's; empty: it is.
func (e *Engine) Remote() string {
	u, err := neturl.Parse(e.host)
	if e.local || err != nil {
		return ""
	}
	return u.Hostname()
}

// Containers lists the instance's containers in the order in which they start.
func (e *Engine) Containers(ctx context.Context, instance string) ([]plan.Container, error) {
	o, err := e.observe(ctx, instance)
	if err != nil {
		return nil, err
	}
	return o.Containers, nil
}

// New reports whether nothing was ever applied where the pass looked.
func (p *Pass) New() bool { return p.actual.Spec == nil }

// Files are where the compose file and the file of its variables lie; empty on another host that
// gets none.
func (p *Pass) Files() (compose, env string) {
	for _, f := range p.desired.Files {
		switch f.Name {
		case render.ComposeFile:
			compose = f.Path
		case render.EnvFile:
			env = f.Path
		}
	}
	return compose, env
}
