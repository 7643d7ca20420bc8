package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary a broker: the address and the data directory.
const childEnv = "MILLWRIGHT_TEST_BROKER"

func TestMain(m *testing.M) {
	if args, child := os.LookupEnv(childEnv); child {
		addr, dir, _ := strings.Cut(args, " ")
		if err := runChild(addr, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// runChild runs a broker until its standard input ends, so that it does not outlive the
// test, and tells when it listens.
func runChild(addr, dir string) error {
	policy := newControl(identityOf("line1", "rw #"))
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := New(Options{Dir: dir, Watch: policy, Login: loginPlain, Log: log, segmentBytes: 1 << 20})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	l, err := listen(addr)
	if err != nil {
		return err
	}
	go func() { ran <- b.Run(ctx, l) }()
	go func() {
		defer cancel()
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			log.Error("cannot read the standard input", "error", err)
		}
	}()
	select {
	case <-b.Synced():
		fmt.Println("listening")
	case <-ctx.Done():
	}
	return <-ran
}

// listen waits until the killed broker's address is free.
func listen(addr string) (l net.Listener, err error) {
	for range 1000 {
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
	return nil, err
}

// freeAddress returns an address whose port no outgoing connection takes, as those of the
// ephemeral range may while the broker is down.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(10_000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// victim is a broker in a process of its own.
type victim struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	up    chan time.Duration // from the start of the process to its listening
	log   *strings.Builder
	ended chan struct{}
}

func startVictim(t testing.TB, addr, dir string) *victim {
	t.Helper()
	v := &victim{up: make(chan time.Duration, 1), log: &strings.Builder{}, ended: make(chan struct{})}
	v.cmd = exec.Command(os.Args[0])
	v.cmd.Env = append(os.Environ(), childEnv+"="+addr+" "+dir)
	v.cmd.Stderr = v.log
	stdin, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.stdin = stdin
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(v.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == "listening" {
				v.up <- time.Since(started)
			}
		}
		_ = v.cmd.Wait() // killed, mostly
	}()
	return v
}

// end lets the process end by the signal, or, for none, by itself.
func (v *victim) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if sig != 0 {
		_ = v.cmd.Process.Signal(sig)
	}
	_ = v.stdin.Close()
	<-v.ended
	if sig == 0 && !v.cmd.ProcessState.Success() {
		t.Errorf("the broker ended with %v", v.cmd.ProcessState)
	}
	for line := range strings.Lines(v.log.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("the broker says: %s", line)
		}
	}
}

// load starts the clients that a killed broker has.
func (d *drive) load() {
	d.crashes = true
	d.receive(&receiver{name: "online-1", qos: 1, version: 5, cuts: 2000})
	d.receive(&receiver{name: "online-2", qos: 2, version: 5, receiveMax: 20, cuts: 2000})
	d.receive(&receiver{name: "away-1", qos: 1, version: 4, cuts: 300, away: 600})
	d.receive(&receiver{name: "away-2", qos: 2, version: 5, cuts: 300, away: 600})
	d.receive(&receiver{name: "slow-2", qos: 2, version: 4, receiveMax: 1, cuts: 200})
	d.publish(&publisher{id: 1, qos: 1, version: 5, window: 20, cuts: 1000})
	d.publish(&publisher{id: 2, qos: 2, version: 5, window: 20, cuts: 1000})
	d.publish(&publisher{id: 3, qos: 2, version: 4, window: 3, cuts: 100})
	d.publish(&publisher{id: 4, qos: 1, version: 5, window: 5, cuts: 100, retain: true})
	d.publish(&publisher{id: 5, qos: 2, version: 5, window: 5, cuts: 100, retain: true})
	d.churn(1, 0, true)
	d.churn(2, 0, true)
}

// TestKill kills a broker under load with SIGKILL, again and again, at any moment, and
// starts it on what is left. The number of kills is MILLWRIGHT_TEST_KILLS.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := fromEnv(t, "MILLWRIGHT_TEST_KILLS", 40)
	seed := fromEnv(t, "MILLWRIGHT_TEST_SEED", rand.Uint64N(1<<32))
	d := newDrive(t, seed)
	random := d.random("kills")
	addr, dir := freeAddress(t), t.TempDir()
	v := startVictim(t, addr, dir)
	defer func() { v.end(t, syscall.SIGKILL) }()
	d.to(addr, nil)
	d.load()
	var starts []time.Duration
	early := 0
	for n := range kills {
		if random.IntN(8) == 0 { // while it starts
			awaitMoment(time.Duration(random.IntN(60)) * time.Millisecond)
			early++
		} else {
			starts = append(starts, awaitUp(t, v))
			if n%10 == 5 {
				d.probe(fmt.Sprintf("probe-%d", n))
			}
			awaitMoment(time.Duration(50+random.IntN(500)) * time.Millisecond)
		}
		v.end(t, syscall.SIGKILL)
		v = startVictim(t, addr, dir)
	}
	starts = append(starts, awaitUp(t, v))
	d.drain()
	d.probe("probe-last")
	if f := d.failed(); f != "" {
		t.Errorf("seed %d: %s", seed, f)
	}
	slices.Sort(starts)
	t.Logf("%d kills, %d of them during the start; %s; from start to listening: median %v, longest %v",
		kills, early, d.summary(), starts[len(starts)/2], starts[len(starts)-1])
	v.end(t, 0)
	v = startVictim(t, addr, dir) // for the deferred end; and it starts after a graceful one
	awaitUp(t, v)
}

func awaitUp(t testing.TB, v *victim) time.Duration {
	t.Helper()
	select {
	case took := <-v.up:
		return took
	case <-v.ended:
		t.Fatalf("the broker does not start: %s", v.log)
	case <-time.After(20 * time.Second):
		t.Fatalf("the broker does not start in 20 s: %s", v.log)
	}
	return 0
}

// awaitMoment lets the broker work for a while, before it is killed.
func awaitMoment(d time.Duration) { <-time.After(d) }
