package loadgen

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decodeWithLibrary decodes a packet of ours with a codec that others wrote.
func decodeWithLibrary(t *testing.T, version byte, raw []byte) packets.Packet {
	t.Helper()
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(raw[0]); err != nil {
		t.Fatal(err)
	}
	n, used, err := packets.DecodeLength(bytes.NewReader(raw[1:]))
	if err != nil || 1+used+n != len(raw) {
		t.Fatalf("length %d after %d bytes of %d: %v", n, used, len(raw), err)
	}
	pk.FixedHeader.Remaining = n
	body := raw[1+used:]
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	}
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	return pk
}

func TestMQTTConnectAndSubscribe(t *testing.T) {
	s := &Server{User: "line1", Password: "secret"}
	for _, version := range []byte{4, 5} {
		w := mqtt{version}
		for _, clean := range []bool{true, false} {
			pk := decodeWithLibrary(t, version, w.hello(nil, s, "client", clean))
			c := pk.Connect
			if pk.ProtocolVersion != version || c.ClientIdentifier != "client" || string(c.Username) != "line1" || string(c.Password) != "secret" || c.Clean != clean {
				t.Errorf("version %d, clean %v: decoded %+v", version, clean, c)
			}
			if expiry := pk.Properties.SessionExpiryInterval; version == 5 && (expiry == 0) != clean {
				t.Errorf("clean %v: the session expires after %d s", clean, expiry)
			}
		}
		pk := decodeWithLibrary(t, version, w.subscribe(nil, []string{"a/b", "c/#"}, 1))
		if len(pk.Filters) != 2 || pk.Filters[1].Filter != "c/#" || pk.Filters[1].Qos != 1 {
			t.Errorf("version %d: decoded %+v", version, pk.Filters)
		}
	}
}

// A message that we encode is what others decode, and what we decode; a packet that is not
// all there is not decoded.
func TestMQTTMessage(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for qos := range byte(3) {
			w := mqtt{version}
			raw, idAt, payloadAt := w.message(nil, "load/1", 200, qos)
			stamp(raw[payloadAt:], 3, 77, 1234)
			if (idAt >= 0) != (qos > 0) {
				t.Fatalf("QoS %d: packet id at %d", qos, idAt)
			}
			if idAt >= 0 {
				raw[idAt+1] = 9
			}
			pk := decodeWithLibrary(t, version, raw)
			if pk.TopicName != "load/1" || pk.FixedHeader.Qos != qos || len(pk.Payload) != 200 {
				t.Errorf("decoded %+v", pk)
			}
			var f frame
			for n := range raw {
				if used, err := w.next(raw[:n], &f); used != 0 || err != nil {
					t.Fatalf("%d of %d bytes: used %d, %v", n, len(raw), used, err)
				}
			}
			if used, err := w.next(append(raw, 0xff), &f); used != len(raw) || err != nil {
				t.Fatalf("used %d of %d, %v", used, len(raw), err)
			}
			publisher, n, intended, ok := readStamp(f.payload)
			if f.kind != kindMessage || f.qos != qos || !ok || publisher != 3 || n != 77 || intended != 1234 {
				t.Errorf("version %d, QoS %d: %+v", version, qos, f)
			}
			if qos > 0 && f.id != 9 {
				t.Errorf("packet id %d", f.id)
			}
		}
	}
}

// Each answer is the packet that MQTT asks for.
func TestMQTTAnswers(t *testing.T) {
	for _, c := range []struct {
		frame frame
		want  byte
	}{
		{frame{kind: kindMessage, qos: 1, id: 300}, packets.Puback},
		{frame{kind: kindMessage, qos: 2, id: 300}, packets.Pubrec},
		{frame{kind: kindReceived, id: 300}, packets.Pubrel},
		{frame{kind: kindRelease, id: 300}, packets.Pubcomp},
	} {
		pk := decodeWithLibrary(t, 5, mqtt{5}.answer(nil, &c.frame))
		if pk.FixedHeader.Type != c.want || pk.PacketID != 300 {
			t.Errorf("%+v is answered with %+v", c.frame, pk)
		}
	}
	if out := (mqtt{4}).answer(nil, &frame{kind: kindMessage}); len(out) > 0 {
		t.Errorf("QoS 0 is answered with %x", out)
	}
}

func TestMQTTFromServer(t *testing.T) {
	for _, c := range []struct {
		name    string
		version byte
		raw     string
		want    frame
		refused bool
	}{
		{"CONNACK", 4, "\x20\x02\x01\x00", frame{kind: kindAccepted, again: true}, false},
		{"CONNACK refused", 4, "\x20\x02\x00\x05", frame{}, true},
		{"CONNACK 5", 5, "\x20\x03\x00\x00\x00", frame{kind: kindAccepted, inflight: 65535}, false},
		{"CONNACK 5 with properties", 5, "\x20\x0f\x00\x00\x0c\x12\x00\x01x\x22\x00\x0a\x24\x01\x21\x01\x00", frame{kind: kindAccepted, inflight: 256}, false},
		{"SUBACK", 4, "\x90\x03\x00\x01\x01", frame{kind: kindAccepted}, false},
		{"SUBACK refused", 5, "\x90\x04\x00\x01\x00\x87", frame{}, true},
		{"PUBACK", 4, "\x40\x02\x00\x07", frame{kind: kindAck, id: 7}, false},
		{"PUBACK 5 with code", 5, "\x40\x04\x00\x07\x10\x00", frame{kind: kindAck, id: 7}, false},
		{"PUBACK 5 refused", 5, "\x40\x03\x00\x07\x87", frame{}, true},
		{"PUBREC", 4, "\x50\x02\x00\x07", frame{kind: kindReceived, id: 7}, false},
		{"PUBREL", 4, "\x62\x02\x00\x07", frame{kind: kindRelease, id: 7}, false},
		{"PUBCOMP", 4, "\x70\x02\x00\x07", frame{kind: kindAck, id: 7}, false},
		{"DISCONNECT", 5, "\xe0\x01\x8b", frame{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f frame
			n, err := mqtt{c.version}.next([]byte(c.raw), &f)
			if c.refused {
				if !errors.Is(err, errRefused) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || n != len(c.raw) {
				t.Fatalf("used %d of %d: %v", n, len(c.raw), err)
			}
			if f.kind != c.want.kind || f.id != c.want.id || f.again != c.want.again || f.inflight != c.want.inflight {
				t.Errorf("decoded %+v, want %+v", f, c.want)
			}
		})
	}
}

func TestNATSMessage(t *testing.T) {
	raw := "MSG load.1 1 16\r\n0123456789abcdef\r\n"
	var f frame
	for n := range raw {
		if used, err := (nats{}).next([]byte(raw[:n]), &f); used != 0 || err != nil {
			t.Fatalf("%q: used %d, %v", raw[:n], used, err)
		}
	}
	used, err := nats{}.next([]byte(raw+"PING\r\n"), &f)
	if err != nil || used != len(raw) || f.kind != kindMessage || string(f.payload) != "0123456789abcdef" {
		t.Errorf("used %d of %d, %v: %+v", used, len(raw), err, f)
	}
	out, idAt, payloadAt := nats{}.message(nil, "load.1", 16, 0)
	if idAt != -1 || string(out[:payloadAt]) != "PUB load.1 16\r\n" || !strings.HasSuffix(string(out), "\r\n") || len(out) != payloadAt+18 {
		t.Errorf("%q, payload at %d", out, payloadAt)
	}
}

func TestNATSFromServer(t *testing.T) {
	for line, want := range map[string]kind{
		"INFO {\"max_payload\":1048576}\r\n": kindOther, "+OK\r\n": kindOther, "PING\r\n": kindPing, "PONG\r\n": kindAccepted,
	} {
		var f frame
		if n, err := (nats{}).next([]byte(line), &f); n != len(line) || err != nil || f.kind != want {
			t.Errorf("%q: used %d, %v, %+v", line, n, err, f)
		}
	}
	for line, want := range map[string]error{
		"-ERR 'Slow Consumer'\r\n": errRefused, "HELLO\r\n": errMalformed, "MSG a 1 x\r\n": errMalformed, "MSG 1\r\n": errMalformed,
	} {
		var f frame
		if _, err := (nats{}).next([]byte(line), &f); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", line, err, want)
		}
	}
}

// Whatever a server sends, decoding ends in a frame, an error, or the wish for more.
func FuzzNext(f *testing.F) {
	f.Add([]byte("\x30\x05\x00\x01ahi"))
	f.Add([]byte("\x20\x0f\x00\x00\x0c\x12\x00\x01x\x22\x00\x0a\x24\x01\x21\x01\x00"))
	f.Add([]byte("MSG load.1 1 4\r\nabcd\r\n"))
	f.Add([]byte("\x32\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, w := range []wire{mqtt{4}, mqtt{5}, nats{}} {
			var fr frame
			n, err := w.next(raw, &fr)
			if n < 0 || n > len(raw) || err == nil && n > 0 && fr.kind == kindMessage && len(fr.payload) > len(raw) {
				t.Fatalf("%T used %d of %d bytes: %v, %+v", w, n, len(raw), err, fr)
			}
		}
	})
}

// A frame larger than the buffer makes it grow; frames that come in pieces are put together.
func TestLinkFills(t *testing.T) {
	big, _, _ := mqtt{4}.message(nil, "a", 10_000, 0)
	small, _, _ := mqtt{4}.message(nil, "a", 16, 0)
	l := newLink(&pieces{data: append(append(append([]byte{}, small...), big...), small...)}, mqtt{4}, 64)
	var sizes []int
	for {
		var f frame
		ok, err := l.next(&f)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			sizes = append(sizes, len(f.payload))
			continue
		}
		if err := l.fill(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
	}
	if len(sizes) != 3 || sizes[0] != 16 || sizes[1] != 10_000 || sizes[2] != 16 {
		t.Errorf("payloads of %v bytes", sizes)
	}
}
