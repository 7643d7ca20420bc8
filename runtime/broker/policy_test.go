package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

func TestPolicySubscribe(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "r a/+/c", "r b/#", "w w", "r $SYS/broker/uptime"))
	w := p.connect(t, "line1", "c")
	filters := []string{"a/+/c", "a/x/c", "a/#", "b", "b/+/#", "#", "w", "$share/g/b/x", "$share/g/a/#", "$SYS/broker/uptime", "$SYS/#", "b/#/x", "$share/g"}
	want := []byte{1, 1, 0x87, 1, 1, 0x87, 0x87, 1, 0x87, 1, 0x87, 0x8F, 0x8F}
	if got := w.subscribe(1, filters...); !slices.Equal(got, want) {
		t.Errorf("SUBACK %#x\nwant   %#x", got, want)
	}
	old := p.dial(t)
	old.version = 4
	old.send(connectPacket("line1", "old"))
	old.expect(packets.Connack)
	if got := old.subscribe(1, "b", "a/#"); !slices.Equal(got, []byte{1, 0x80}) {
		t.Errorf("SUBACK of MQTT 3.1.1 %#x", got)
	}
}

func TestPolicyPublish(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "w a/#", "r #"))
	got := p.collect(t, "line1", "#")
	w := p.connect(t, "line1", "c")
	w.publish("b", "refused", 0, 0)
	w.publish("b", "refused", 1, 1)
	if ack := w.expect(packets.Puback); ack.ReasonCode != 0x87 {
		t.Errorf("PUBACK %#x, want 0x87", ack.ReasonCode)
	}
	w.publish("$SYS/a", "refused", 2, 2)
	if ack := w.expect(packets.Pubrec); ack.ReasonCode != 0x87 {
		t.Errorf("PUBREC %#x, want 0x87", ack.ReasonCode)
	}
	old := p.dial(t)
	old.version = 4
	old.send(connectPacket("line1", "old"))
	old.expect(packets.Connack)
	old.publish("b", "refused", 0, 0)
	old.ping()
	old.publish("b", "refused", 1, 1) // MQTT 3 cannot say no but by closing
	old.expectEnd()
	p.nothingMore(t, "line1", "a", got)
	if got := p.Stats().Refused; got != 5 {
		t.Errorf("Refused is %d, want 5", got)
	}
}

// A permission that is taken away stops delivery at once, in process and on the network,
// also of what is queued and retained; one that is given back lets it go on.
func TestPolicyRevoked(t *testing.T) {
	all, none := identityOf("line1", "r a/#"), identityOf("line1", "r other")
	source := identityOf("source", "w #")
	p := start(t, Limits{}, all, source)
	p.publish(t, "source", Message{Topic: "a/r", Payload: []byte("kept"), Retain: true})
	got := p.collect(t, "line1", "a/#")
	next(t, got)
	w := p.connect(t, "line1", "c")
	w.subscribe(1, "a/#")
	w.expectMessage("a/r", "kept")
	p.publish(t, "source", Message{Topic: "a/b", Payload: []byte("before")})
	w.expectMessage("a/b", "before")
	next(t, got)

	p.set(none, source)
	p.awaitRevision(t, 2)
	p.publish(t, "source", Message{Topic: "a/b", Payload: []byte("secret"), QoS: 1})
	if code := w.subscribe(1, "a/#"); code[0] != 0x87 {
		t.Errorf("SUBACK %#x", code)
	}
	w.ping()
	p.set(all, source)
	p.awaitRevision(t, 3)
	p.publish(t, "source", Message{Topic: "a/b", Payload: []byte("after")})
	w.expectMessage("a/b", "after")
	if m := next(t, got); string(m.Payload) != "after" {
		t.Errorf("got %q", m.Payload)
	}
}

func TestPolicyRevokedWhileQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := offline(t, Limits{}, identityOf("a", "rw #"))
		gate := make(chan struct{})
		var got []string
		stop, err := b.Subscribe(t.Context(), "a", "#", 0, func(m Message) { got = append(got, m.Topic); <-gate })
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"x", "x", "y", "x"} {
			if err := b.Publish(t.Context(), "a", Message{Topic: topic}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		b.apply(map[string]spec.Identity{"a": identityOf("a", "r y")}, "", 2)
		close(gate)
		synctest.Wait()
		b.apply(nil, "", 3)
		stop()
		if !slices.Equal(got, []string{"x", "y"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

func TestPolicyIdentityGone(t *testing.T) {
	line1, line2 := identityOf("line1", "rw #"), identityOf("line2", "rw #")
	p := start(t, Limits{}, line1, line2)
	one := p.connect(t, "line1", "c")
	two := p.connect(t, "line2", "c")
	away, _ := p.connectSession(t, "line1", "away", 5)
	away.subscribe(1, "a")
	away.nc.Close()
	p.awaitClients(t, 2)

	more := line2
	more.Credentials = append([]string{"plain$another"}, line2.Credentials...) // disturbs nobody
	p.send(spec.Event[spec.Identity]{Type: spec.EventPut, Key: "line2", Value: more},
		spec.Event[spec.Identity]{Type: spec.EventDelete, Key: "line1"})
	if reason := one.expectEnd(); reason != 0x98 {
		t.Errorf("DISCONNECT %#x, want 0x98", reason)
	}
	two.ping()
	if got := p.Stats().Subscriptions; got != 0 {
		t.Errorf("%d subscriptions of an identity that is gone", got)
	}
	changed := line2
	changed.Credentials = []string{"plain$another"}
	p.set(changed)
	if reason := two.expectEnd(); reason != 0x98 {
		t.Errorf("DISCONNECT %#x, want 0x98", reason)
	}
}

// What the log-in asks: the identity's hashes, none for who does not exist, and from where.
func TestPolicyLogin(t *testing.T) {
	asked := make(chan credential.Attempt, 1)
	login := func(ctx context.Context, a credential.Attempt, hashes []string) (string, error) {
		asked <- a
		if a.User == "unknown" && len(hashes) != 0 {
			t.Errorf("hashes of nobody: %q", hashes)
		}
		return loginPlain(ctx, a, hashes)
	}
	p := startOptions(t, Options{Dir: t.TempDir(), Login: login}, newControl(identityOf("line1")))
	for user, want := range map[string]byte{"line1": 0, "unknown": 0x86} {
		w := p.dial(t)
		w.send(connectPacket(user, "c"))
		if got := w.expect(packets.Connack).ReasonCode; got != want {
			t.Errorf("%s: CONNACK %#x, want %#x", user, got, want)
		}
		if a := <-asked; a.User != user || a.Secret != "pw-"+user || a.Address != w.nc.LocalAddr().String() {
			t.Errorf("asked for %+v", a)
		}
	}
}

func TestPolicyLoginFails(t *testing.T) {
	for _, tc := range []struct {
		err    error
		v5, v3 byte
	}{
		{spec.Errorf(spec.Unavailable, "busy"), 0x89, 3},
		{&credential.LimitedError{After: time.Second}, 0x9f, 3},
	} {
		login := func(context.Context, credential.Attempt, []string) (string, error) { return "", tc.err }
		p := startOptions(t, Options{Dir: t.TempDir(), Login: login}, newControl(identityOf("line1")))
		for version, want := range map[byte]byte{5: tc.v5, 4: tc.v3} {
			w := p.dial(t)
			w.version = version
			w.send(connectPacket("line1", "c"))
			if got := w.expect(packets.Connack).ReasonCode; got != want {
				t.Errorf("%v: CONNACK %#x, want %#x", tc.err, got, want)
			}
		}
	}
}

// Guessing over MQTT is limited as at the API, and what the guesser sends is not logged whole.
func TestPolicyGuessing(t *testing.T) {
	hash, err := credential.HashPassword("pw-line1")
	if err != nil {
		t.Fatal(err)
	}
	id := identityOf("line1")
	id.Credentials = []string{hash}
	var text lockedBuffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	logins := credential.NewLogins(credential.NewVerifier())
	p := startOptions(t, Options{Dir: t.TempDir(), Log: log, Login: logins.Verify}, newControl(id))
	attempt := func(user, secret string) byte {
		w := p.dial(t)
		pk := connectPacket(user, strings.Repeat("c", 60_000))
		pk.Connect.Password = []byte(secret)
		w.send(pk)
		code := w.expect(packets.Connack).ReasonCode
		w.nc.Close()
		return code
	}
	for n := range 10 {
		if got := attempt("line1", "guess"+strconv.Itoa(n)); got != 0x86 {
			t.Fatalf("guess %d: %#x", n, got)
		}
	}
	if got := attempt("line1", "guess"); got != 0x9f {
		t.Errorf("the eleventh guess: %#x", got)
	}
	if got := attempt(strings.Repeat("u", 60_000), "x"); got != 0x86 {
		t.Errorf("a long name: %#x", got)
	}
	p.stop()
	if n := len(text.String()); n == 0 || n > 20_000 {
		t.Errorf("%d bytes are logged", n)
	}
}

// lockedBuffer is a text that a log writes.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A broker without its control plane authorises from the copy on disk.
func TestPolicyOnDisk(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("line1", "rw #")))
	p.stop()
	info, err := os.Stat(filepath.Join(dir, policyFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := os.WriteFile(filepath.Join(dir, "policy.json.123.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Dir: dir, Login: loginPlain})
	if err != nil {
		t.Fatal(err)
	}
	<-b.Synced()
	if b.Revision() != 1 {
		t.Errorf("revision %d", b.Revision())
	}
	if err := b.Publish(t.Context(), "line1", Message{Topic: "a"}); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestPolicyOnDiskDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty":     "",
		"cut":       `{"format":1,"cursor":"c","revision":7,"sha256":"00","identities":[{"na`,
		"falsified": `{"format":1,"cursor":"c","revision":7,"sha256":"00","identities":[{"name":"line1","permissions":[{"resource":"#","operation":"readWrite","context":"mqtt"}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, policyFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := New(Options{Dir: dir, Login: loginPlain})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-b.Synced():
				t.Error("a damaged policy is in force")
			default:
			}
			wantKind(t, b.Publish(t.Context(), "line1", Message{Topic: "a"}), spec.Forbidden)
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, policyFile), []byte(`{"format":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Dir: dir, Login: loginPlain})
	wantKind(t, err, spec.Invalid)
}

// A watch that fails is tried again from the last cursor, with growing pauses.
func TestPolicyWatchRetried(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newControl(identityOf("line1"))
		c.fail = errors.New("unreachable")
		b, err := New(Options{Dir: dir, Login: loginPlain, Watch: c})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		<-b.Synced()
		c.send(spec.Event[spec.Identity]{Type: "unheard of"})
		synctest.Wait()
		time.Sleep(2 * firstRetry)
		synctest.Wait()
		if want := []string{"", "", "test-1"}; len(c.watches) < 3 || !slices.Equal(c.watches[:3], want) {
			t.Errorf("watched after %q, want %q", c.watches, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPolicyRemembersBounded(t *testing.T) {
	id := compile(identityOf("a", "r a/#"))
	for i := range 2 * maxRemembered {
		if !id.may(spec.Read, fmt.Sprint("a/", i)) {
			t.Fatal("refused")
		}
		if len(id.remembered) > maxRemembered {
			t.Fatalf("%d decisions remembered", len(id.remembered))
		}
	}
	clear(id.remembered)
	if !id.may(spec.Read, "a/"+strings.Repeat("x", maxRememberedTopic)) || len(id.remembered) > 0 {
		t.Error("a long topic is refused, or remembered")
	}
}
