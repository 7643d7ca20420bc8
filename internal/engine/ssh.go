package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"github.com/millwright/millwright/internal/spec"
)

// The form of docker_host over SSH, in errors.
const sshForm = "ssh://[USER@]HOST[:PORT][/PATH/OF/docker.sock]"

const (
	// sshEnd is how long ssh has to end by itself when its connection is closed.
	sshEnd = 2 * time.Second
	// sshIdle is how long an unused connection is kept.
	sshIdle = 30 * time.Second
	// maxSSHSaid is how much is kept of what ssh writes to standard error.
	maxSSHSaid = 4096
)

var (
	sshHost   = regexp.MustCompile(`^[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*$`)
	sshUser   = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*$`)
	sshSocket = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
)

// sshDialer reaches an engine as docker itself does: for each connection the system's ssh runs
// `docker system dial-stdio` on the engine's host. Ssh asks nobody for anything: a key or an agent
// logs in, and the host's key is known.
type sshDialer struct {
	login   []string // ssh's options and the host
	command []string // for the remote shell; holds nothing that it would interpret

	mu   sync.Mutex
	last *sshFailure // the last one
}

// newSSHDialer refuses what ssh or the remote shell might take for something else.
func newSSHDialer(u *neturl.URL) (*sshDialer, error) {
	wrong := func(why string) (*sshDialer, error) {
		return nil, spec.Errorf(spec.Invalid, "cannot use docker_host %q: %s", u.Redacted(), why)
	}
	user := u.User.Username()
	_, secret := u.User.Password()
	switch {
	case secret:
		return wrong("it holds a password, and ssh is not asked for one; use a key or an agent")
	case !sshHost.MatchString(u.Hostname()) || user != "" && !sshUser.MatchString(user) || u.RawQuery != "" || u.Fragment != "":
		return wrong("it is " + sshForm)
	case u.Path != "" && u.Path != "/" && !sshSocket.MatchString(u.Path):
		return wrong("its path is that of the engine's socket, such as /run/user/1000/docker.sock")
	}
	d := &sshDialer{login: []string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=20"}}
	if user != "" {
		d.login = append(d.login, "-l", user)
	}
	if port := u.Port(); port != "" {
		d.login = append(d.login, "-p", port)
	}
	d.login = append(d.login, "--", u.Hostname())
	d.command = []string{"docker", "system", "dial-stdio"}
	if sshSocket.MatchString(u.Path) {
		d.command = []string{"docker", "--host", "unix://" + u.Path, "system", "dial-stdio"}
	}
	return d, nil
}

// options have the engine's client use the dialer.
func (d *sshDialer) options() []client.Opt {
	return []client.Opt{
		client.WithHost("http://docker"),
		client.WithHTTPClient(&http.Client{ // without the proxy of the environment
			Transport:     &http.Transport{DialContext: d.dial, MaxIdleConns: 4, IdleConnTimeout: sshIdle},
			CheckRedirect: client.CheckRedirect,
		}),
	}
}

// hostname is the address or name that ssh connects to, which its configuration may give another
// one than docker_host does; empty where ssh does not say.
func (d *sshDialer) hostname(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "ssh", append([]string{"-G"}, d.login...)...).Output() //nolint:gosec // checked by newSSHDialer
	if err != nil {
		return "" // connecting fails too, and says why
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(line, "hostname "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// dial starts ssh. That it cannot log in is known when the first answer does not come.
func (d *sshDialer) dial(context.Context, string, string) (net.Conn, error) {
	cmd := exec.Command("ssh", append(append([]string{}, d.login...), d.command...)...) //nolint:gosec // checked by newSSHDialer
	inThere, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, outThere, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inThere.Close(), in.Close())
	}
	c := &sshConn{dialer: d, cmd: cmd, in: in, out: out, ended: make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inThere, outThere, &c.said
	cmd.WaitDelay = sshEnd // a shared connection's master may keep standard error
	detach(cmd)
	err = cmd.Start()
	if closing := errors.Join(inThere.Close(), outThere.Close()); err == nil {
		err = closing
	}
	if err != nil {
		d.failed(&sshFailure{cause: err})
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	go c.wait()
	return c, nil
}

func (d *sshDialer) failed(f *sshFailure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = f
}

// sshConn is one run of ssh as a connection.
type sshConn struct {
	dialer *sshDialer
	cmd    *exec.Cmd
	in     *os.File // what it reads
	out    *os.File // what it writes
	said   tail
	ended  chan struct{} // closed when it has ended; state is set then
	state  error
	once   sync.Once
}

var _ net.Conn = (*sshConn)(nil)

func (c *sshConn) wait() {
	c.state = c.cmd.Wait()
	close(c.ended)
}

// failure is why ssh has ended, nil if it has not, or has done its work.
func (c *sshConn) failure() error {
	timer := time.NewTimer(sshEnd)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(c.state, &exit) {
		return nil
	}
	f := &sshFailure{cause: c.state, code: exit.ExitCode(), said: c.said.String()}
	c.dialer.failed(f)
	return f
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		if f := c.failure(); f != nil {
			return 0, f
		}
	}
	return n, err
}

func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.in.Write(p)
	if err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		if f := c.failure(); f != nil {
			return n, f
		}
	}
	return n, err
}

// CloseWrite tells the engine that nothing more comes.
func (c *sshConn) CloseWrite() error { return c.in.Close() }

// Close lets ssh end, and ends it where it does not.
func (c *sshConn) Close() error {
	c.once.Do(func() {
		_, _ = c.in.Close(), c.out.Close() // in may be closed already
		timer := time.NewTimer(sshEnd)
		defer timer.Stop()
		select {
		case <-c.ended:
		case <-timer.C:
			_ = c.cmd.Process.Kill() // it may have ended just now
			<-c.ended
		}
	})
	return nil
}

func (c *sshConn) LocalAddr() net.Addr  { return sshAddr{} }
func (c *sshConn) RemoteAddr() net.Addr { return sshAddr{} }

func (c *sshConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *sshConn) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *sshConn) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }

type sshAddr struct{}

func (sshAddr) Network() string { return "ssh" }
func (sshAddr) String() string  { return "ssh" }

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if more := len(t.text) - maxSSHSaid; more > 0 {
		t.text = append(t.text[:0], t.text[more:]...)
	}
	return len(p), nil
}

// String is the last line that says something.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	return strings.ToValidUTF8(strings.TrimSpace(string(lines[len(lines)-1])), "?")
}

// sshFailure is how ssh, or the program that it ran, has ended.
type sshFailure struct {
	cause error
	code  int
	said  string
}

func (f *sshFailure) Error() string {
	if f.said == "" {
		return "ssh: " + f.cause.Error()
	}
	return "ssh: " + f.said
}

// The codes that ssh ends with: its own failure, and a shell that does not find the program.
const (
	sshFailed   = 255
	sshNotFound = 127
)

// unreachable says why an engine is not reached over SSH, and what to do. Err is what the engine's
// client has met.
func (d *sshDialer) unreachable(host string, err error) error {
	d.mu.Lock()
	f := d.last
	d.mu.Unlock()
	cannot := func(kind spec.Kind, hint string) error {
		return spec.Errorf(kind, "cannot reach the Docker engine at %s: %w", host, f).WithHint("%s", hint)
	}
	said := ""
	if f != nil {
		said = strings.ToLower(f.said)
	}
	switch {
	case f == nil:
		return spec.Errorf(spec.Unavailable, "cannot reach the Docker engine at %s: %w", host, err).WithHint("see that docker runs on that host")
	case errors.Is(f.cause, exec.ErrNotFound):
		return cannot(spec.Unavailable, "install ssh (Debian: apt-get install openssh-client)")
	case f.code == sshNotFound:
		return cannot(spec.Unavailable, "install Docker on that host, its command docker included (Debian: docker.io)")
	case f.code == sshFailed && strings.Contains(said, "host key"):
		return cannot(spec.Unavailable, "make the host's key known: connect once with ssh, and compare the key")
	case f.code == sshFailed && strings.Contains(said, "permission denied"):
		return cannot(spec.Forbidden, "have a key or an agent log in: ssh is not asked for a password here")
	case f.code == sshFailed:
		return cannot(spec.Unavailable, "see that this works by itself: ssh -o BatchMode=yes HOST docker version")
	case strings.Contains(said, "permission denied"):
		return cannot(spec.Forbidden, "log in as root, or add that host's user to its group docker")
	}
	return cannot(spec.Unavailable, "see that docker runs on that host: systemctl start docker")
}
