package broker

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/journal/journaltest"
)

// startSickly runs a broker whose disk a test can make fail.
func startSickly(t testing.TB, limits Limits) (*plant, *journaltest.Faulty) {
	t.Helper()
	disk := journaltest.NewFaulty(journal.OS(), 1)
	opts := Options{Dir: filepath.Join(t.TempDir(), "broker"), Storage: disk, Limits: limits}
	p := startOptions(t, opts, newControl(identityOf("a", "rw #")))
	t.Cleanup(func() { disk.Rate(journaltest.Sync, 0) }) // before Run ends
	return p, disk
}

// sicken lets the disk fail and waits until the broker knows.
func (p *plant) sicken(t testing.TB, disk *journaltest.Faulty) {
	t.Helper()
	disk.Rate(journaltest.Sync, 1)
	p.journal.Notify(ignored{})
	p.journal.Append(0, nil)
	eventually(t, "the disk to fail", func() bool { return !p.journal.HasRoom() })
}

type ignored struct{}

func (ignored) Committed() {}

// A session that cannot be written is refused with CONNACK: DISCONNECT may not come before it [MQTT-3.14.0-1].
func TestConnectOnFailingDisk(t *testing.T) {
	p, disk := startSickly(t, Limits{ConnectTimeout: 300 * time.Millisecond})
	p.sicken(t, disk)
	for version, want := range map[byte]byte{5: packets.ErrServerUnavailable.Code, 4: packets.Err3ServerUnavailable.Code} {
		w := p.dial(t)
		w.version = version
		pk := connectPacket("a", "c")
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
		w.send(pk)
		if got := w.expect(packets.Connack).ReasonCode; got != want {
			t.Errorf("MQTT %d: CONNACK %#x, want %#x", version, got, want)
		}
		if pk, err := w.receive(); err == nil {
			t.Errorf("after a refusal came %s", packets.PacketNames[pk.FixedHeader.Type])
		}
	}
}

// A client that repeats a QoS 2 message while the disk takes none has published it once.
func TestRepeatedWhileParked(t *testing.T) {
	p, disk := startSickly(t, Limits{})
	w, _ := p.connectSession(t, "a", "c", 4)
	got := p.collect(t, "a", "x")
	p.sicken(t, disk)
	for range 3 {
		w.publish("x", "once", 2, 1)
	}
	w.ping()
	disk.Rate(journaltest.Sync, 0)
	for range 3 {
		w.expect(packets.Pubrec)
	}
	p.references(t, 2) // the session, and the exchange
	next(t, got)
	p.nothingMore(t, "a", "x", got)
	w.ack(packets.Pubrel, 1)
	w.expect(packets.Pubcomp)
	p.references(t, 1)
}

// What clients bring while the disk takes none is bounded for all of them, and none of it is lost.
func TestParkedBounded(t *testing.T) {
	const limit, clients, messages = 1 << 20, 4, 40
	p, disk := startSickly(t, Limits{TotalPacketBytes: limit, PacketBytes: 64 << 10})
	got := p.collect(t, "a", "x/#")
	p.sicken(t, disk)
	payload := make([]byte, 30_000)
	var all []*wire
	for i := range clients {
		w := p.connect(t, "a", fmt.Sprint("c", i))
		var data []byte
		for id := range messages {
			data = append(data, encoded(t, packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: fmt.Sprint("x/", i), Payload: payload, PacketID: uint16(id + 1),
			})...)
		}
		go func() { _, _ = w.nc.Write(data) }() // what does not arrive is not acknowledged
		all = append(all, w)
	}
	most := int64(0)
	eventually(t, "as much to be parked as may be", func() bool {
		most = max(most, p.parked.Load())
		return most > limit*9/10
	})
	disk.Rate(journaltest.Sync, 0)
	for _, w := range all {
		for range messages {
			w.expect(packets.Puback)
		}
		w.nc.Close()
	}
	for range clients * messages {
		next(t, got)
	}
	p.awaitClients(t, 0)
	if n := p.parked.Load(); most > limit || n != 0 {
		t.Errorf("%d bytes were parked of %d, in the end %d", most, limit, n)
	}
}
