package compare

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/loadgen"
	"github.com/millwright/millwright/internal/testneed"
	"github.com/millwright/millwright/runtime/broker"
)

// TestMain is also our broker as a process of its own: "serve --data DIR --listen ADDRESS".
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "serve" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := Serve(ctx, os.Args[3], os.Args[5], os.Getenv(PasswordVariable), Limits(), slog.New(slog.DiscardHandler))
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func programs(t *testing.T) Programs {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Programs{Load: self}
}

// short measures one load briefly, on the entries that choose lets through.
func short(t *testing.T, key string, p Programs, choose func(entry) bool) []*Measured {
	t.Helper()
	o := Options{Programs: p, Rounds: 1, Duration: 200 * time.Millisecond, Connections: 20, Queued: 1000}.withDefaults()
	for _, l := range loads(&o) {
		if l.key != key {
			continue
		}
		var rows []row
		for _, r := range l.rows {
			if choose(r.ours) {
				rows = append(rows, r)
			}
		}
		var others []entry
		for _, e := range l.others {
			if choose(e) {
				others = append(others, e)
			}
		}
		l.rows, l.others = rows, others
		measured, err := o.measure(t.Context(), &l, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return measured
	}
	t.Fatalf("no load %q", key)
	return nil
}

// healthy fails where a sample has no value, or the server broke a promise.
func healthy(t *testing.T, measured []*Measured) {
	t.Helper()
	for _, m := range measured {
		for _, s := range m.Samples {
			if s.Failure != "" || len(s.Broken) > 0 || s.Value <= 0 {
				t.Errorf("%s, %s: %s", m.Load, m.name(), s.text(m.Unit))
			}
		}
	}
}

// Each load works on our broker as a process of its own.
func TestLoadsOnOurs(t *testing.T) {
	for _, key := range []string{"one-to-one", "fan-out", "acknowledged", "pairs"} {
		measured := short(t, key, programs(t), func(e entry) bool { return e.Contender == ours })
		healthy(t, measured)
		for _, m := range measured {
			if l := m.Samples[0].Load; l == nil || l.Delivered == 0 || key != "one-to-one" && key != "fan-out" && l.Missing > 0 {
				t.Errorf("%s: %+v", key, l)
			}
		}
	}
}

// What was queued is there after kill -9, in order.
func TestRestartOfOurs(t *testing.T) {
	measured := short(t, "restart", programs(t), func(entry) bool { return true })
	healthy(t, measured)
	for _, m := range measured {
		if r := m.Samples[0].Restart; r.Collected == nil || r.Collected.Delivered != 1000 {
			t.Errorf("%s", m.Samples[0].text(m.Unit))
		}
	}
}

// Each load that mosquitto takes part in works on it.
func TestForeignLoadsOnMosquitto(t *testing.T) {
	p := Programs{Mosquitto: testneed.Program(t, "mosquitto")}
	for _, key := range []string{"one-to-one", "acknowledged"} {
		healthy(t, short(t, key, p, func(e entry) bool { return strings.HasPrefix(e.Contender, mosquitto) }))
	}
}

// inProcess runs our broker, behind TLS if there is a configuration.
func inProcess(t *testing.T, secure *tls.Config) (address string) {
	t.Helper()
	b, err := newBroker(t.TempDir(), "secret", broker.Limits{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-b.Synced()
	return address
}

// Every version and QoS, with clean and persistent sessions: all of it arrives, once.
func TestEveryQoS(t *testing.T) {
	address := inProcess(t, nil)
	for _, p := range []loadgen.Protocol{loadgen.MQTT311, loadgen.MQTT5} {
		for qos := range byte(3) {
			res, err := loadgen.Run(t.Context(), loadgen.Scenario{
				Server: server(p, address, "secret"), Publishers: 2, Subscribers: 2, Topics: 3, Wildcard: qos == 1,
				QoS: qos, Persistent: qos > 0, Count: 500, Rate: 10_000, PID: os.Getpid(),
			})
			if err != nil {
				t.Fatalf("%s, QoS %d: %v", p, qos, err)
			}
			if res.Delivered != 2000 || res.Missing != 0 || res.Duplicates != 0 || len(res.Broken()) > 0 || qos > 0 && res.Acked != 1000 {
				t.Errorf("%s, QoS %d: %+v", p, qos, res)
			}
		}
	}
}

func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	s := server(loadgen.MQTT5, inProcess(t, &tls.Config{Certificates: []tls.Certificate{certificate}}), "secret")
	if _, err := loadgen.Run(t.Context(), loadgen.Scenario{Server: s, Count: 1, QoS: 1}); err == nil {
		t.Error("a plain connection is let in")
	}
	s.TLS = &tls.Config{ServerName: "127.0.0.1"}
	if _, err := loadgen.Run(t.Context(), loadgen.Scenario{Server: s, Count: 1, QoS: 1}); err == nil {
		t.Error("a certificate that nobody trusts is accepted")
	}
	s.TLS = &tls.Config{ServerName: "127.0.0.1", RootCAs: pool}
	res, err := loadgen.Run(t.Context(), loadgen.Scenario{Server: s, Count: 300, QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	if res.Delivered != 300 || res.Acked != 300 {
		t.Errorf("%+v", res)
	}
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
