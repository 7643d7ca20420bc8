package broker

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzPublish holds our decoder and encoder of PUBLISH against the library's: what ours takes
// the library takes too and reads the same, and what ours writes it reads back.
func FuzzPublish(f *testing.F) {
	for _, c := range packets.TPacketData[packets.Publish] {
		if len(c.RawBytes) > 2 {
			f.Add(c.RawBytes[0], c.RawBytes[2:], byte(5))
			f.Add(c.RawBytes[0], c.RawBytes[2:], byte(4))
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte, version byte) {
		if version != 5 {
			version = 4
		}
		p, err := decodePublish(first, body, version)
		if err != nil || len(p.topic) == 0 || checkText(p.topic) != nil {
			return
		}
		theirs := packets.Packet{ProtocolVersion: version}
		if theirs.FixedHeader.Decode(packets.Publish<<4|first&15) != nil {
			t.Fatalf("first byte %#x", first)
		}
		theirs.FixedHeader.Remaining = len(body)
		if err := guard(func() error { return decode(&theirs, bytes.Clone(body)) }); err != nil {
			t.Fatalf("we took %x, the library says %v", body, err)
		}
		same := theirs.TopicName == string(p.topic) && bytes.Equal(theirs.Payload, p.payload) && theirs.PacketID == p.id &&
			theirs.FixedHeader.Qos == p.qos && theirs.FixedHeader.Retain == p.retain && theirs.FixedHeader.Dup == p.dup &&
			theirs.Properties.TopicAlias == p.alias && theirs.Properties.MessageExpiryInterval == p.expiry
		if !same {
			t.Fatalf("we read %+v, the library %+v", p, theirs)
		}
		m := &message{Message: Message{Topic: string(p.topic), Payload: p.payload}, props: p.props}
		for qos := range byte(3) {
			checkEncoded(t, m, &theirs, qos)
		}
	})
}

// checkEncoded encodes for MQTT 5 and has the library read it back.
func checkEncoded(t *testing.T, m *message, original *packets.Packet, qos byte) {
	t.Helper()
	fr := encodePublish(nil, m, publishFrame{version: 5, qos: min(qos, 1), topic: m.Topic, ids: []int{1, 268435455}})
	fr.stamp(fr.data, &delivery{msg: m, qos: qos, id: packetID(65535 + 7)}, qos > 0)
	back := packets.Packet{ProtocolVersion: 5}
	_, header, length, err := packetHeader(fr.data)
	if err != nil || header+length != len(fr.data) {
		t.Fatalf("header %d, length %d of %d: %v", header, length, len(fr.data), err)
	}
	if err := back.FixedHeader.Decode(fr.data[0]); err != nil {
		t.Fatal(err)
	}
	back.FixedHeader.Remaining = length
	if err := decode(&back, fr.data[header:]); err != nil {
		t.Fatalf("the library does not read %x: %v", fr.data, err)
	}
	p, q := &back.Properties, &original.Properties
	if back.TopicName != m.Topic || !bytes.Equal(back.Payload, m.Payload) || qos > 0 && back.PacketID != 7 ||
		p.ContentType != q.ContentType || p.ResponseTopic != q.ResponseTopic || !bytes.Equal(p.CorrelationData, q.CorrelationData) ||
		len(p.User) != len(q.User) || len(p.SubscriptionIdentifier) != 2 {
		t.Fatalf("written %+v, read back %+v", original, back)
	}
}
