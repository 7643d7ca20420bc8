package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

func TestForgetRetained(t *testing.T) {
	dir := t.TempDir()
	p := startOptions(t, Options{Dir: dir}, newControl(identityOf("a", "rw #")))
	w := p.connect(t, "a", "c")
	for n, topic := range []string{"services/press", "services/press/a", "services/press/b/c", "services/press2/a"} {
		w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: 1}, PacketID: uint16(n + 1), TopicName: topic, Payload: []byte("kept")})
		w.expect(packets.Puback)
	}
	live := p.connect(t, "a", "live")
	live.subscribe(0, "services/press/b/#")
	live.expectMessage("services/press/b/c", "kept")
	if err := p.ForgetRetained("services/press/#"); err != nil {
		t.Fatal(err)
	}
	live.expectMessage("services/press/b/c", "")
	left := func(r *retained) (topics []string) {
		for _, m := range r.match("#", r.mark()) {
			topics = append(topics, m.Topic)
		}
		return topics
	}
	if got := left(p.retained); len(got) != 1 || got[0] != "services/press2/a" {
		t.Errorf("left %q", got)
	}
	p.stop()
	if got := left(reopened(t, dir).retained); len(got) != 1 || got[0] != "services/press2/a" {
		t.Errorf("left on disk %q", got)
	}
	if err := p.ForgetRetained("services/press2/#"); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}
