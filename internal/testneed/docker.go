package testneed

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// dockerPatience bounds the start and the end of an engine; no test asserts how much was used.
const dockerPatience = time.Minute

// OwnDocker starts an engine with its data in a temporary folder for this test alone, so that it
// may be filled, broken or stopped, and ends it with the test; more are arguments of dockerd. It
// takes root and Debian's docker.io. An engine that the machine runs already is left alone.
// It touches neither the host's firewall, but for allowForwarding, nor its bridge docker0.
func OwnDocker(t testing.TB, more ...string) string {
	t.Helper()
	program, err := exec.LookPath("dockerd")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/dockerd")
	}
	if err != nil || os.Getuid() != 0 {
		missing(t, "a Docker engine (Debian's docker.io, run as root)")
	}
	dir, err := os.MkdirTemp("", "dockerd") //nolint:usetesting // t.TempDir's path may be too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	host, subnets := "unix://"+filepath.Join(dir, "docker.sock"), pool(t)
	allowForwarding(t, subnets)
	var log bytes.Buffer
	cmd := exec.Command(program, append([]string{ //nolint:gosec // a test's own program
		"--host", host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false",
		"--default-address-pool", "base=" + subnets + ",size=26", "--log-level", "warn",
	}, more...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start dockerd: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { stopDocker(t, cmd, ended, dir) })
	for ctx, cancel := context.WithTimeout(t.Context(), dockerPatience); ; {
		defer cancel()
		if answers(ctx, host) {
			return host
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("dockerd ended: %v\n%s", err, log.String())
		case <-ctx.Done():
			t.Fatal("dockerd does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pool is where the engine's networks lie, so that two engines do not take the same.
func pool(t testing.TB) string {
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	n := h.Sum32()
	return fmt.Sprintf("10.%d.%d.0/20", 100+n%100, n/100%16*16)
}

// allowForwarding lets the engine's containers reach each other where another engine, also one
// that ran before, has the firewall drop what is forwarded. The rule goes with the test.
func allowForwarding(t testing.TB, subnets string) {
	policy, err := exec.Command("iptables", "-S", "FORWARD").Output()
	if err != nil || !bytes.Contains(policy, []byte("-P FORWARD DROP")) {
		return // no firewall, or one that lets them
	}
	rule := []string{"FORWARD", "-s", subnets, "-d", subnets, "-j", "ACCEPT"}
	if out, err := exec.Command("iptables", append([]string{"-I"}, rule...)...).CombinedOutput(); err != nil {
		t.Fatalf("cannot let the containers reach each other: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("iptables", append([]string{"-D"}, rule...)...).CombinedOutput(); err != nil {
			t.Errorf("cannot take the firewall's rule back: %v\n%s", err, out)
		}
	})
}

func stopDocker(t testing.TB, cmd *exec.Cmd, ended <-chan error, dir string) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Logf("dockerd: %v", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Logf("dockerd: %v", err)
		}
	case <-time.After(dockerPatience):
		t.Errorf("dockerd does not end; it is killed: %v, %v", cmd.Process.Kill(), <-ended)
	}
	// A container in the host's network leaves a mount behind.
	_ = exec.Command("umount", filepath.Join(dir, "exec", "netns", "default")).Run() // there is none in most tests
	if err := os.RemoveAll(dir); err != nil {
		t.Errorf("cannot remove what dockerd left: %v", err)
	}
}

func answers(ctx context.Context, host string) bool {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			if path, ok := bytes.CutPrefix([]byte(host), []byte("unix://")); ok {
				return d.DialContext(ctx, "unix", string(path))
			}
			return d.DialContext(ctx, "tcp", host[len("tcp://"):])
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// CIBase returns the path of a Debian as an archive, with the packages of examples/ci-image, as
// .ci/test-needs makes it.
func CIBase(t testing.TB) string {
	t.Helper()
	path := fromRoot(".cache", "ci-image-base.tar")
	if _, err := os.Stat(path); err != nil {
		missing(t, ".cache/ci-image-base.tar (make test-needs builds it, as root on Debian)")
	}
	return path
}

// fromRoot is a path within the project.
func fromRoot(path ...string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(file), "..", ".."}, path...)...)
}

// Compose returns the path of docker compose v2, as .ci/test-needs builds it.
func Compose(t testing.TB) string {
	t.Helper()
	path := fromRoot("bin", "docker-compose")
	if _, err := os.Stat(path); err != nil {
		missing(t, "bin/docker-compose (make test-needs builds it)")
	}
	return path
}
