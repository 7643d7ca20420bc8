package broker

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// reopened opens a copy of a broker's directory as it is at this moment, as after kill -9.
func reopened(t testing.TB, dir string) *Broker {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Dir: copied, Login: loginPlain, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRetainedSurvives(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	keep := func(topic, payload string, props packets.Properties) {
		w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: 1}, PacketID: 1, TopicName: topic, Payload: []byte(payload), Properties: props})
		w.expect(packets.Puback)
	}
	keep("a", "1", packets.Properties{})
	keep("gone", "1", packets.Properties{})
	keep("a", "2", packets.Properties{})
	keep("gone", "", packets.Properties{})
	keep("p", "\x00\xff", packets.Properties{ContentType: "text/plain", MessageExpiryInterval: 3600, CorrelationData: []byte{1}})
	keep("old", "x", packets.Properties{})
	p.stop()

	p = startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w = p.connect(t, "a", "c")
	w.subscribe(1, "#")
	got := map[string]packets.Packet{}
	for range 3 {
		pk := w.expect(packets.Publish)
		w.ack(packets.Puback, pk.PacketID)
		got[pk.TopicName] = pk
	}
	w.ping()
	if string(got["a"].Payload) != "2" || got["a"].FixedHeader.Qos != 1 || !got["a"].FixedHeader.Retain || string(got["p"].Payload) != "\x00\xff" {
		t.Fatalf("read back %v", got)
	}
	pr := got["p"].Properties
	if pr.ContentType != "text/plain" || string(pr.CorrelationData) != "\x01" || pr.MessageExpiryInterval > 3600 || pr.MessageExpiryInterval < 3000 {
		t.Errorf("properties %+v", pr)
	}
}

// What was acknowledged outlives kill -9: the directory is opened as it is at that moment.
func TestRetainedAcknowledged(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	for n := range 5 {
		for qos, answer := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
			topic, value := fmt.Sprint("q", qos), fmt.Sprint("v", n)
			id := uint16(n)*2 + uint16(qos)
			w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: qos}, PacketID: id, TopicName: topic, Payload: []byte(value)})
			w.expect(answer)
			if got := reopened(t, dir).retained.get(topic); got == nil || string(got.Payload) != value {
				t.Fatalf("%s was acknowledged, on disk is %v", value, got)
			}
		}
	}
}

func TestRetainedExpires(t *testing.T) {
	p := start(t, Limits{}, identityOf("a", "rw #"))
	w := p.connect(t, "a", "c")
	w.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: 1}, PacketID: 1, TopicName: "x", Payload: []byte("kept"),
		Properties: packets.Properties{MessageExpiryInterval: 10},
	})
	w.expect(packets.Puback)
	p.expireRetained(time.Now().Add(5 * time.Second))
	if p.Stats().Retained != 1 {
		t.Error("gone before its time")
	}
	p.expireRetained(time.Now().Add(11 * time.Second))
	if p.Stats().Retained != 0 {
		t.Error("kept after its time")
	}
}
