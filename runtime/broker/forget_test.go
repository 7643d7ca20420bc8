package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/spec"
)

func TestForgetsRetained(t *testing.T) {
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
	if _, err := p.forgetRetained("services/press/#"); err != nil {
		t.Fatal(err)
	}
	live.expectMessage("services/press/b/c", "")
	if got := left(p.retained); len(got) != 1 || got[0] != "services/press2/a" {
		t.Errorf("left %q", got)
	}
	p.stop()
	if got := left(reopened(t, dir).retained); len(got) != 1 || got[0] != "services/press2/a" {
		t.Errorf("left on disk %q", got)
	}
	if _, err := p.forgetRetained("services/press2/#"); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

// left are the topics of all retained messages.
func left(r *retained) (topics []string) {
	for _, m := range r.match("#", r.mark()) {
		topics = append(topics, m.Topic)
	}
	slices.Sort(topics)
	return topics
}

// What is retained of an identity goes with it, whether the broker was there or not, and not
// because nobody can log in as it any more.
func TestForgetsHomes(t *testing.T) {
	dir := t.TempDir()
	source := identityOf("source", "w #")
	at := func(service, born string) spec.Identity {
		id := identityOf("service:"+service, "rw services/"+service+"/#")
		id.Home, id.Born = "services/"+service+"/#", born
		return id
	}
	off := at("off", "1")
	off.Credentials, off.Permissions = nil, nil
	p := startOptions(t, Options{Dir: dir}, newControl(source, at("gone", "1"), at("reborn", "1"), at("off", "1"), at("away", "1"), at("stays", "1")))
	keep := func(services ...string) {
		t.Helper()
		for _, s := range append(services, "nobody's") {
			p.publish(t, "source", Message{Topic: "services/" + s + "/x", Payload: []byte("kept"), Retain: true, QoS: 1})
		}
	}
	expect := func(services ...string) {
		t.Helper()
		var want []string
		for _, s := range services {
			want = append(want, "services/"+s+"/x")
		}
		eventually(t, "the retained messages "+strings.Join(want, " "), func() bool { return slices.Equal(left(p.retained), want) })
	}
	keep("gone", "reborn", "off", "away", "stays")
	p.send(spec.Event[spec.Identity]{Type: spec.EventDelete, Key: "service:gone"},
		spec.Event[spec.Identity]{Type: spec.EventPut, Key: "service:reborn", Value: at("reborn", "2")},
		spec.Event[spec.Identity]{Type: spec.EventPut, Key: "service:off", Value: off})
	expect("away", "nobody's", "off", "stays")
	keep("reborn")
	p.stop()
	later := newControl()
	later.set()
	later.set(source, at("reborn", "3"), off, at("stays", "1")) // all of it, as to who was away for long
	p = startOptions(t, Options{Dir: dir}, later)
	expect("nobody's", "off", "stays")
	p.stop()
	if got := left(reopened(t, dir).retained); len(got) != 3 {
		t.Errorf("left on disk %q", got)
	}
}

// A session that nobody can resume ends.
func TestSessionOfWhoCannotLogIn(t *testing.T) {
	line1 := identityOf("line1", "rw #")
	p := start(t, Limits{}, line1)
	w, _ := p.connectSession(t, "line1", "c", 5)
	w.subscribe(1, "a")
	line1.Credentials = nil
	p.set(line1)
	w.expectEnd()
	eventually(t, "the session's end", func() bool { return p.Stats().Subscriptions == 0 })
}
