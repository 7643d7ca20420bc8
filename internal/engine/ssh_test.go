package engine

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// sshPlant is a host that an engine is reached on by SSH: an sshd on loopback, and an `ssh` first
// in PATH that takes its configuration from the test's folder, as it takes a user's from his home.
type sshPlant struct {
	*testing.T
	dir, port, socket string
}

func newSSHPlant(t *testing.T) *sshPlant {
	t.Helper()
	p := &sshPlant{T: t, dir: t.TempDir()}
	server, keygen, ssh := testneed.Program(t, "/usr/sbin/sshd"), testneed.Program(t, "ssh-keygen"), testneed.Program(t, "ssh")
	testneed.Program(t, "docker")
	p.socket = strings.TrimPrefix(testneed.OwnDocker(t), "unix://")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "user", "stranger", "nodocker", "nobody"} {
		if out, err := exec.CommandContext(t.Context(), keygen, "-q", "-t", "ed25519", "-N", "", "-f", p.path(key)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p.port = p.serve(server)
	p.write("authorized", p.read("user.pub")+
		`command="no-such-docker" `+p.read("nodocker.pub")+
		`command="setpriv --reuid 65534 --clear-groups docker --host unix://`+p.socket+` system dial-stdio" `+p.read("nobody.pub"))
	p.write("known", fmt.Sprintf("[127.0.0.1]:%s %s", p.port, p.read("host.pub")))
	for alias, key := range map[string]string{"plant": "user", "stranger": "stranger", "nodocker": "nodocker", "nobody": "nobody"} {
		p.write("config", p.readIf("config")+fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  Port %s\n  IdentityFile %s\n", alias, p.port, p.path(key)))
	}
	p.write("config", p.read("config")+fmt.Sprintf("Host 127.0.0.1\n  IdentityFile %s\nHost impostor\n  HostName 127.0.0.1\n  Port %s\n  UserKnownHostsFile /dev/null\n"+
		"Host *\n  User root\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n", p.path("user"), p.port, p.path("known")))
	p.write("bin/ssh", "#!/bin/sh\nexec "+ssh+" -F "+p.path("config")+" \"$@\"\n")
	if err := os.Chmod(p.path("bin/ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", p.path("bin")+":"+os.Getenv("PATH"))
	return p
}

func (p *sshPlant) path(name string) string { return filepath.Join(p.dir, name) }

func (p *sshPlant) write(name, text string) {
	p.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o700); err != nil {
		p.Fatal(err)
	}
	write(p.T, p.path(name), []byte(text))
}

func (p *sshPlant) read(name string) string {
	p.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		p.Fatal(err)
	}
	return string(text)
}

func (p *sshPlant) readIf(name string) string {
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		return ""
	}
	return string(text)
}

// serve starts sshd, which ends with the test, and returns its port.
func (p *sshPlant) serve(server string) string {
	p.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil || listener.Close() != nil {
		p.Fatal(err)
	}
	p.write("sshd_config", fmt.Sprintf("Port %[1]s\nListenAddress 127.0.0.1\nHostKey %[2]s/host\nAuthorizedKeysFile %[2]s/authorized\n"+
		"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n", port, p.dir))
	cmd := exec.Command(server, "-D", "-e", "-f", p.path("sshd_config"))
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for listens := false; !listens; {
		if !lines.Scan() {
			p.Fatal("sshd does not listen")
		}
		listens = strings.Contains(lines.Text(), "Server listening on")
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() { // until it is stopped, so that it is never blocked
		}
	}()
	p.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			p.Error(err)
		}
		<-drained
		_ = cmd.Wait() // of the signal
	})
	return port
}

// TestForeignSSH brings an instance up on an engine that is reached by SSH alone, finds it again,
// and removes it. Nothing is written here; the figure is printed, not asserted.
func TestForeignSSH(t *testing.T) {
	s := newSSHPlant(t)
	e := open(t, "ssh://plant"+s.socket)
	if e.Remote() != "plant" || e.at != "127.0.0.1" {
		t.Errorf("it is %q at %q", e.Remote(), e.at)
	}
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.given.InstallPath = ""
	_, port, _ := strings.Cut(string(p.given.Ports[spec.PortHTTPS]), ":")
	p.given.Ports[spec.PortHTTPS] = spec.Port(port)
	has(t, p.apply(), "+ instance/NAME/container/mapper: does not exist yet", "it is loaded from")
	if files := p.plan().actual.Files; len(files) > 0 {
		t.Errorf("files of another host: %+v", files)
	}
	if left, err := os.ReadDir(p.dir); err != nil || len(left) > 0 {
		t.Errorf("written here: %v, %v", left, err)
	}
	access, err := e.Access(t.Context(), p.plan().Instance)
	if err != nil || access.URL != "https://127.0.0.1:"+port || access.Token != "a token" {
		t.Errorf("got %+v, %v", access, err)
	}
	begin := time.Now()
	p.engine = open(t, "ssh://root@127.0.0.1:"+s.port+s.socket) // by another name
	p.empty()
	t.Logf("a pass that has nothing to do takes %s over SSH, the log-in included", time.Since(begin).Round(time.Millisecond))

	// A port of that host that somebody else has is found without looking at the host.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ = strings.Cut(taken.Addr().String(), ":")
	has(t, p.plan(func(i *spec.Instance) { i.Ports = spec.Ports{spec.PortMQTT: spec.Port(port)} }).Plan.String(),
		"error: port "+port+" (mqtt) is taken by something that answers at 127.0.0.1:"+port)
}

// TestForeignSSHRefuses: what is wrong on the way is told apart, and each says what to do.
func TestForeignSSHRefuses(t *testing.T) {
	newSSHPlant(t)
	for host, want := range map[string]struct {
		kind spec.Kind
		text []string
	}{
		"ssh://stranger":              {spec.Forbidden, []string{"Permission denied (publickey", "a key or an agent"}},
		"ssh://impostor":              {spec.Unavailable, []string{"Host key verification failed", "make the host's key known"}},
		"ssh://nodocker":              {spec.Unavailable, []string{"no-such-docker", "install Docker on that host"}},
		"ssh://nobody":                {spec.Forbidden, []string{"permission denied", "group docker"}},
		"ssh://plant/no/docker.sock":  {spec.Unavailable, []string{"no such file or directory", "see that docker runs"}},
		"ssh://root@127.0.0.1:1":      {spec.Unavailable, []string{"Connection refused", "works by itself"}},
		"ssh://root:s3cret@127.0.0.1": {spec.Invalid, []string{"it holds a password"}},
	} {
		_, err := Open(t.Context(), Options{Host: host, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
		var e *spec.Error
		text := fmt.Sprint(err)
		if errors.As(err, &e) {
			text += " " + e.Hint
		}
		for _, part := range want.text {
			if spec.KindOf(err) != want.kind || !strings.Contains(text, part) {
				t.Errorf("%s: got %v (%s), want %q", host, err, spec.KindOf(err), part)
			}
		}
		if strings.Contains(text, "s3cret") {
			t.Errorf("%s: the password is shown", host)
		}
	}
	t.Setenv("PATH", t.TempDir())
	_, err := Open(t.Context(), Options{Host: "ssh://plant", Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if spec.KindOf(err) != spec.Unavailable || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("without ssh: %v", err)
	}
}

// What ssh or the remote shell would take for something else is refused before they see it.
func TestSSHAddress(t *testing.T) {
	for host, want := range map[string]string{
		"ssh://plant":                           "-- plant docker system dial-stdio",
		"ssh://me@plant.example:2222/":          "-l me -p 2222 -- plant.example docker system dial-stdio",
		"ssh://[2001:db8::1]/run/user/1/d.sock": "-- 2001:db8::1 docker --host unix:///run/user/1/d.sock system dial-stdio",
		"ssh://DOM%5Cme@plant":                  `-l DOM\me -- plant docker system dial-stdio`,
		"ssh://":                                "",
		"ssh://-oProxyCommand=x":                "",
		"ssh://-lroot@plant":                    "",
		"ssh://plant/a%20b":                     "",
		"ssh://plant/$(id)":                     "",
		"ssh://plant/x;id":                      "",
		"ssh://me:secret@plant":                 "",
		"ssh://plant?a=b":                       "",
		"ssh://plant#a":                         "",
	} {
		u, err := neturl.Parse(host)
		if err != nil {
			t.Fatal(err)
		}
		d, err := newSSHDialer(u)
		if want == "" {
			if spec.KindOf(err) != spec.Invalid || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v", host, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if got := strings.Join(append(d.login[7:], d.command...), " "); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

// TestSSHConnection: a connection's deadlines hold, and closing it ends its program, whether that
// listens or not.
func TestSSHConnection(t *testing.T) {
	for name, program := range map[string]string{"one that ends": "exec cat", "one that does not": "trap '' HUP TERM; exec sleep 1000"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\n"+program+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			d, err := newSSHDialer(&neturl.URL{Scheme: "ssh", Host: "plant"})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := d.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			select {
			case <-conn.(*sshConn).ended:
			default:
				t.Error("its program is still there")
			}
		})
	}
}
