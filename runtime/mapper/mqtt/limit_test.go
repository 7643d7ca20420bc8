package mqtt

import (
	"bytes"
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// TestMaximumPacketSize: what the broker said that it does not take is refused here, and the session lives on.
func TestMaximumPacketSize(t *testing.T) {
	greeting := "\x20\x08\x00\x00\x05\x27\x00\x00\x00\x28" // 40 bytes at most
	host, port, err := net.SplitHostPort(liarAfter(greeting, "")(t))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := connectorFor(t, map[string]any{"host": host, "port": number})
	s := dial(t, c)
	p, err := c.Point(mapper.OpWrite, json.RawMessage(`{"topic":"abc"}`))
	if err != nil {
		t.Fatal(err)
	}
	for size, good := range map[int]bool{32: true, 33: false, 5000: false} {
		r := s.Write(t.Context(), p, mapper.Payload{Raw: bytes.Repeat([]byte("x"), size)})
		if good != (r.Err == nil) || !good && (spec.KindOf(r.Err) != spec.Invalid || !strings.Contains(r.Err.Error(), "40 at most")) {
			t.Errorf("%d bytes: %v", size, r.Err)
		}
	}
	select {
	case <-s.Done():
		t.Errorf("the session ended: %v", s.Err())
	default:
	}
}

func TestPublishLength(t *testing.T) {
	for _, m := range []mapper.Message{
		{Topic: "a"},
		{Topic: "a", QoS: 1, Payload: make([]byte, 121)},
		{Topic: "a", QoS: 1, Payload: make([]byte, 122)},
		{Topic: "a/b", QoS: 2, Retain: true, Payload: make([]byte, 20000)},
		{Topic: "a/b", Payload: make([]byte, 3<<20)},
	} {
		packet := packets.NewControlPacket(packets.PUBLISH)
		packet.Content = &packets.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, PacketID: 1, Properties: &packets.Properties{}}
		var buf bytes.Buffer
		if _, err := packet.WriteTo(&buf); err != nil {
			t.Fatal(err)
		}
		if got := publishLength(m); got != buf.Len() {
			t.Errorf("%d bytes of payload: %d, not %d", len(m.Payload), got, buf.Len())
		}
	}
}
