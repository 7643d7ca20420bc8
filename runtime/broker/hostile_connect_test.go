package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// realLogin gives the identities credentials that package credential made: tokens, but for "person",
// who has a password.
func (s *site) realLogin(t testing.TB, ids []spec.Identity) func(context.Context, credential.Attempt, []string) (string, error) {
	t.Helper()
	logins := credential.NewLogins(credential.NewVerifier())
	s.secrets = map[string]string{}
	for i := range ids {
		secret := credential.Generate("mw_")
		hash := credential.HashGenerated(secret)
		if ids[i].Name == "person" {
			var err error
			if hash, err = credential.HashPassword(secret); err != nil {
				t.Fatal(err)
			}
			// verified once before the storm, as anybody who was connected is
			if got, err := logins.Verify(t.Context(), credential.Attempt{User: "person", Address: "127.0.0.1", Secret: secret}, []string{hash}); err != nil || got != hash {
				t.Fatalf("%q, %v", got, err)
			}
		}
		ids[i].Credentials = []string{hash}
		s.secrets[ids[i].Name] = secret
	}
	return logins.Verify
}

// connectPacket logs in with the identity's secret.
func (s *site) connectPacket(user, client string) packets.Packet {
	pk := connectPacket(user, client)
	if secret, real := s.secrets[user]; real {
		pk.Connect.Password = []byte(secret)
	}
	return pk
}

// perIdle is what a connection that does nothing may keep on the heap, with the test's end of it.
const perIdle = 16 << 10

// buffers is what the broker may keep for the connections of later.
const buffers = 8 << 20

func connectionStorms() []storm {
	return []storm{
		{name: "2,000 connects in a second", login: true, ids: []spec.Identity{identityOf("machine", "r x"), identityOf("person", "r x")}, run: connectStorm},
		{name: "wrong passwords", login: true, ids: []spec.Identity{identityOf("person", "r x")}, run: wrongPasswords},
		{name: "half-open connections", limits: Limits{ConnectTimeout: 3 * time.Second}, run: halfOpen},
		{name: "large CONNECTs without an end", run: largeConnects},
		{name: "wills", ids: []spec.Identity{identityOf("reader", "r attack/#")}, run: willStorm},
		{name: "sessions left behind", limits: Limits{Sessions: 1002}, run: abandonedSessions},
		{name: "reconnects of one client", run: takeovers},
	}
}

// Half of them with a token, half with a password.
func connectStorm(t testing.TB, s *site) {
	const n = 2000
	connects := make([][]byte, n)
	for i := range connects {
		connects[i] = encoded(t, s.connectPacket([]string{"machine", "person"}[i%2], fmt.Sprint("c", i)))
	}
	begin := time.Now()
	s.attack(t, n, 100, func(i int, nc net.Conn) error {
		reason, err := connected(nc, connects[i])
		if err == nil && reason != 0 {
			err = fmt.Errorf("connect %d is refused with %#x", i, reason)
		}
		return err
	})
	t.Logf("%d connects in %v", n, time.Since(begin))
	if got := s.Stats().Clients; got != n+2 {
		t.Errorf("%d clients, want %d", got, n+2)
	}
	s.hold(t, n*perIdle, "16 KiB for each of 2,000 idle connections")
}

// Guesses for one who exists and for many who do not; then the right one gets in at once.
func wrongPasswords(t testing.TB, s *site) {
	const n = 400
	connects := make([][]byte, n)
	for i := range connects {
		user := "person"
		if i%2 == 0 {
			user = fmt.Sprint("nobody", i)
		}
		connects[i] = encoded(t, connectPacket(user, "guess")) // with the passwords of other tests
	}
	s.attack(t, n, 50, func(i int, nc net.Conn) error {
		reason, err := connected(nc, connects[i])
		if err == nil && reason == 0 {
			err = errors.New("a wrong password lets in")
		}
		return err
	})
	right := s.login(t, "person", "right")
	right.ping()
	if err := right.nc.Close(); err != nil {
		t.Error(err)
	}
	s.hold(t, 16<<20, "some log-ins under way and what the limiter notes")
}

// Nothing, half a CONNECT, half a large packet: those without a log-in are thrown out.
func halfOpen(t testing.TB, s *site) {
	const n = 900
	connect := encoded(t, s.connectPacket("attacker", ""))
	large := append([]byte{0x30, 0x80, 0x80, 0x80, 1, 0, 8}, "attack/a\x00"...) // 2 MiB
	large = append(large, make([]byte, 1<<10)...)
	dialled := make([]net.Conn, n)
	s.attack(t, n, 50, func(i int, nc net.Conn) error {
		dialled[i] = nc
		var err error
		switch i % 3 {
		case 1:
			_, err = nc.Write(connect[:len(connect)/2])
		case 2:
			if _, err = connected(nc, connect); err == nil {
				_, err = nc.Write(large)
			}
		}
		return err
	})
	s.hold(t, n*perIdle+64<<20, "16 KiB for each, and 64 MiB for all packets that are under way")
	for i, nc := range dialled {
		if i%3 == 2 {
			continue // this one has logged in
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is not closed: %v", i, err)
		}
	}
}

// CONNECTs of nearly the largest size, from somebody without a password, that never end.
func largeConnects(t testing.TB, s *site) {
	const n = 300
	connect := s.connectPacket("attacker", "c")
	for range 7 {
		connect.Properties.User = append(connect.Properties.User, packets.UserProperty{Key: "k", Val: string(make65k())})
	}
	data := encoded(t, connect)
	data = data[:len(data)-1]
	s.attack(t, n, 50, func(_ int, nc net.Conn) error {
		_, _ = nc.Write(data) // it may be thrown out in the middle
		return nil
	})
	s.hold(t, 48<<20, "what those who are not logged in may take in all: 5,000 connections must fit into a gigabyte")
}

func make65k() []byte {
	text := make([]byte, 65000)
	for i := range text {
		text[i] = 'x'
	}
	return text
}

// Connections that end without a farewell, each with a will for a subscriber, and sessions
// that keep a large will back for an hour.
func willStorm(t testing.TB, s *site) {
	const n = 600
	reader := s.login(t, "reader", "r")
	reader.subscribe(1, "attack/will")
	sudden, kept := s.connectPacket("attacker", ""), s.connectPacket("attacker", "")
	sudden.Connect.WillFlag, sudden.Connect.WillQos = true, 1
	sudden.Connect.WillTopic, sudden.Connect.WillPayload = "attack/will", []byte("gone")
	kept.Connect.WillFlag, kept.Connect.WillTopic, kept.Connect.WillPayload = true, "attack/late", make65k()
	kept.Connect.WillProperties.WillDelayInterval = 3600
	kept.Properties.SessionExpiryInterval, kept.Properties.SessionExpiryIntervalFlag = 3600, true
	first := encoded(t, sudden)
	late := make([][]byte, n)
	for i := 1; i < n; i += 2 {
		kept.Connect.ClientIdentifier = fmt.Sprint("late", i)
		late[i] = encoded(t, kept)
	}
	s.attack(t, n, 50, func(i int, nc net.Conn) error {
		connect := late[i]
		if connect == nil {
			connect = first
		}
		if _, err := connected(nc, connect); err != nil {
			return err
		}
		return nc.Close()
	})
	for range n / 2 {
		reader.ack(packets.Puback, reader.expectMessage("attack/will", "gone").PacketID)
	}
	s.hold(t, n/2*(80<<10)+buffers, "a will of 64 KiB for each of the sessions that wait, what a session takes, and buffers")
	if err := reader.nc.Close(); err != nil {
		t.Error(err)
	}
}

// More sessions than there may be, left behind by CONNECTs with much that nobody needs to keep.
func abandonedSessions(t testing.TB, s *site) {
	const n, allowed = 1500, 1000
	connects := make([][]byte, n)
	pk := s.connectPacket("attacker", "")
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
	pk.Properties.User = []packets.UserProperty{{Key: "k", Val: string(make65k()[:50<<10])}}
	for i := range connects {
		pk.Connect.ClientIdentifier = fmt.Sprint("left", i)
		connects[i] = encoded(t, pk)
	}
	refused := make([]byte, n)
	s.attack(t, n, 20, func(i int, nc net.Conn) error {
		reason, err := connected(nc, connects[i])
		refused[i] = reason
		if err == nil && reason == 0 {
			_, err = nc.Write([]byte{0xE0, 0})
		}
		return errors.Join(err, nc.Close())
	})
	count := map[byte]int{}
	for _, reason := range refused {
		count[reason]++
	}
	if count[0] != allowed || count[0x97] != n-allowed {
		t.Errorf("reasons and their number: %v, want %d let in and the others 0x97", count, allowed)
	}
	clear(connects)
	s.hold(t, allowed*8<<10, "8 KiB for each session that is left behind")
}

// Connections that take each other's session.
func takeovers(t testing.TB, s *site) {
	connect := encoded(t, s.connectPacket("attacker", "same"))
	s.attack(t, 300, 20, func(_ int, nc net.Conn) error {
		_, err := connected(nc, connect)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil // let in or, taken over while it was, not
	})
	eventually(t, "one to be left", func() bool { return s.Stats().Clients == 3 })
	s.hold(t, 4<<20, "one session, and connections that have ended")
}
