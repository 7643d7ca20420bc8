package broker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// connectSession logs in with a session that outlives the connection.
func (p *plant) connectSession(t testing.TB, user, client string, version byte) (w *wire, resumed bool) {
	t.Helper()
	w = p.dial(t)
	w.version = version
	pk := connectPacket(user, client)
	pk.Connect.Clean = false
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 600, true
	w.send(pk)
	ack := w.expect(packets.Connack)
	if ack.ReasonCode != 0 {
		t.Fatalf("refused with %#x", ack.ReasonCode)
	}
	return w, ack.SessionPresent
}

func (p *plant) awaitClients(t testing.TB, n int64) {
	t.Helper()
	eventually(t, "the clients", func() bool { return p.Stats().Clients == n })
}

// What a client did not acknowledge comes again, in order, before what came meanwhile.
func TestSessionResumed(t *testing.T) {
	for _, version := range []byte{4, 5} {
		p := start(t, Limits{}, identityOf("line1", "rw #"))
		w, resumed := p.connectSession(t, "line1", "c", version)
		if resumed {
			t.Error("a new session is called resumed")
		}
		w.subscribe(2, "a/#")
		for i := range 6 {
			p.publish(t, "line1", Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: byte(i%2) + 1})
		}
		ids := map[int]uint16{}
		for i := range 6 {
			ids[i] = w.expectMessage("a/b", fmt.Sprint(i)).PacketID
		}
		w.ack(packets.Puback, ids[2])
		w.ack(packets.Pubrec, ids[3])
		w.expect(packets.Pubrel)
		w.nc.Close()
		p.awaitClients(t, 0)
		for i := 6; i < 300; i++ { // more than are in flight at once
			p.publish(t, "line1", Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: 1})
		}
		p.publish(t, "line1", Message{Topic: "a/b", Payload: []byte("not kept")})

		w, resumed = p.connectSession(t, "line1", "c", version)
		if !resumed {
			t.Error("the session is gone")
		}
		for _, i := range []int{0, 1, 3, 4, 5} {
			if i == 3 {
				if rel := w.expect(packets.Pubrel); rel.PacketID != ids[3] {
					t.Errorf("PUBREL for %d, want %d", rel.PacketID, ids[3])
				}
				w.ack(packets.Pubcomp, ids[3])
				continue
			}
			if pk := w.expectMessage("a/b", fmt.Sprint(i)); !pk.FixedHeader.Dup || pk.PacketID != ids[i] {
				t.Errorf("message %d: id %d, DUP %v; want id %d and DUP", i, pk.PacketID, pk.FixedHeader.Dup, ids[i])
			}
		}
		for i := 6; i < 300; i++ {
			pk := w.expectMessage("a/b", fmt.Sprint(i))
			if pk.FixedHeader.Dup {
				t.Fatalf("message %d is marked DUP", i)
			}
			w.ack(packets.Puback, pk.PacketID)
		}
		w.ping()
	}
}

func TestSessionTakenOver(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"), identityOf("line2", "rw #"))
	first, _ := p.connectSession(t, "line1", "c", 5)
	first.subscribe(1, "a")
	stranger, resumed := p.connectSession(t, "line2", "c", 5) // a client id of its own
	if resumed {
		t.Error("another identity got the session")
	}
	second, resumed := p.connectSession(t, "line1", "c", 5)
	if !resumed {
		t.Error("the session was not handed over")
	}
	if reason := first.expectEnd(); reason != 0x8E {
		t.Errorf("DISCONNECT %#x, want 0x8e", reason)
	}
	p.publish(t, "line1", Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	second.expectMessage("a", "x")
	stranger.ping()
}

// Many connections with one client id at once: one remains, and nothing leaks.
func TestSessionTakenOverByMany(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			nc, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			pk := connectPacket("line1", "c")
			pk.ProtocolVersion = 5
			var buf bytes.Buffer
			if err := pk.ConnectEncode(&buf); err != nil {
				t.Error(err)
			}
			if _, err := nc.Write(buf.Bytes()); err != nil {
				t.Error(err)
			}
			var connack [4]byte
			if _, err := io.ReadFull(nc, connack[:]); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	p.awaitClients(t, 0)
}

func TestSessionCleanStart(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	w, _ := p.connectSession(t, "line1", "c", 5)
	w.subscribe(1, "a")
	w.nc.Close()
	p.awaitClients(t, 0)
	clean := p.connect(t, "line1", "c")
	p.publish(t, "line1", Message{Topic: "a", QoS: 1})
	clean.ping()
	if got := p.Stats().Subscriptions; got != 0 {
		t.Errorf("%d subscriptions left", got)
	}
}

func TestSessionLimits(t *testing.T) {
	p := start(t, Limits{Sessions: 1, Subscriptions: 2, Connections: 2}, identityOf("line1", "rw #"))
	w := p.connect(t, "line1", "c")
	if got := w.subscribe(1, "a", "b", "c", "a"); !slices.Equal(got, []byte{1, 1, 0x97, 1}) {
		t.Errorf("SUBACK %#x", got)
	}
	second := p.dial(t)
	second.send(connectPacket("line1", "d"))
	if got := second.expect(packets.Connack).ReasonCode; got != 0x97 {
		t.Errorf("CONNACK %#x, want 0x97", got)
	}
	second.expectEnd()
	eventually(t, "the connection to end", func() bool { return p.openConnections() == 1 })
	one, two := p.dial(t), p.dial(t)
	refused := make(chan struct{}, 2)
	for _, w := range []*wire{one, two} {
		go func() {
			if _, err := w.nc.Read(make([]byte, 1)); err != nil {
				refused <- struct{}{}
			}
		}()
	}
	<-refused // one of the two is too many
	w.ping()
}

func TestSubscriptionOptions(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	p.publish(t, "line1", Message{Topic: "r", Payload: []byte("kept"), Retain: true, QoS: 1})
	w := p.connect(t, "line1", "c")
	subscribe := func(id int, f packets.Subscription) {
		t.Helper()
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{f}}
		if id > 0 {
			pk.Properties.SubscriptionIdentifier = []int{id}
		}
		w.send(pk)
		w.expect(packets.Suback)
	}
	subscribe(11, packets.Subscription{Filter: "r", Qos: 0})
	if pk := w.expectMessage("r", "kept"); !pk.FixedHeader.Retain || pk.FixedHeader.Qos != 0 || !slices.Equal(pk.Properties.SubscriptionIdentifier, []int{11}) {
		t.Errorf("retained message: %+v", pk)
	}
	subscribe(12, packets.Subscription{Filter: "r", RetainHandling: 1})
	subscribe(13, packets.Subscription{Filter: "+", RetainHandling: 2, RetainAsPublished: true, Qos: 1})
	w.ping() // no retained messages for those two
	p.publish(t, "line1", Message{Topic: "r", Payload: []byte("live"), Retain: true, QoS: 2})
	pk := w.expectMessage("r", "live") // one copy for both, with the best of them
	slices.Sort(pk.Properties.SubscriptionIdentifier)
	if !pk.FixedHeader.Retain || pk.FixedHeader.Qos != 1 || !slices.Equal(pk.Properties.SubscriptionIdentifier, []int{12, 13}) {
		t.Errorf("overlapping: %+v %v", pk.FixedHeader, pk.Properties.SubscriptionIdentifier)
	}
	w.ack(packets.Puback, pk.PacketID)
	subscribe(0, packets.Subscription{Filter: "mine", NoLocal: true})
	subscribe(0, packets.Subscription{Filter: "+", RetainHandling: 2, NoLocal: true})
	w.publish("mine", "own", 0, 0)
	p.publish(t, "line1", Message{Topic: "mine", Payload: []byte("another's")})
	w.expectMessage("mine", "another's")
	w.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "mine"}, {Filter: "never"}}})
	if got := w.expect(packets.Unsuback).ReasonCodes; !slices.Equal(got, []byte{0, 0x11}) {
		t.Errorf("UNSUBACK %#x", got)
	}
}

func TestPublishProperties(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #"))
	w, v3 := p.connect(t, "line1", "c"), p.dial(t)
	v3.version = 4
	v3.send(connectPacket("line1", "old"))
	v3.expect(packets.Connack)
	v3.subscribe(0, "a")
	w.subscribe(0, "a")
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "a", Payload: []byte("x")}
	pk.Properties = packets.Properties{
		ContentType: "text/plain", ResponseTopic: "b", CorrelationData: []byte{1, 2}, MessageExpiryInterval: 100,
		PayloadFormat: 1, PayloadFormatFlag: true, User: []packets.UserProperty{{Key: "k", Val: "v"}, {Key: "k", Val: "w"}},
		TopicAlias: 3, TopicAliasFlag: true,
	}
	w.send(pk)
	got := w.expectMessage("a", "x").Properties
	if got.ContentType != "text/plain" || got.ResponseTopic != "b" || string(got.CorrelationData) != "\x01\x02" ||
		got.MessageExpiryInterval < 90 || got.PayloadFormat != 1 || len(got.User) != 2 || got.TopicAliasFlag {
		t.Errorf("properties %+v", got)
	}
	v3.expectMessage("a", "x")
	pk.TopicName, pk.Payload = "", []byte("by alias")
	w.send(pk)
	w.expectMessage("a", "by alias")
}

// A will is published when the connection breaks, as the identity; not after DISCONNECT.
func TestWill(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "r #", "w wills/#"))
	got := p.collect(t, "line1", "#")
	connect := func(client, topic string) *wire {
		w := p.dial(t)
		pk := connectPacket("line1", client)
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte(client)
		pk.Connect.WillRetain, pk.Connect.WillQos = true, 1
		w.send(pk)
		w.expect(packets.Connack)
		return w
	}
	connect("forbidden", "elsewhere").nc.Close()
	p.awaitClients(t, 0)
	left := connect("left", "wills/left")
	left.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	left.expectEnd()
	p.awaitClients(t, 0)
	withWill := connect("with will", "wills/asked")
	withWill.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: 4})
	if m := next(t, got); m.Topic != "wills/asked" || m.QoS != 1 {
		t.Errorf("got %+v", m)
	}
	connect("broke", "wills/broke").nc.Close()
	if m := next(t, got); m.Topic != "wills/broke" {
		t.Errorf("got %+v", m)
	}
	kept := p.collect(t, "line1", "wills/broke")
	if m := next(t, kept); !m.Retain {
		t.Errorf("got %+v", m)
	}
}
