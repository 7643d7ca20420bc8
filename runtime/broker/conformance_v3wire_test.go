package broker

import (
	"testing"
)

// mqtt311 holds the tests of what MQTT 3.1.1 (level 4) and 3.1 (level 3) have otherwise than
// 5.0. The table names its methods.
type mqtt311 struct{}

// The levels of the older versions, and their names.
func olderNames() map[byte]string { return map[byte]string{3: "MQIsdp", 4: "MQTT"} }

func rawConnect3(name string, level, flags byte, payload ...[]byte) []byte {
	return framed(connectByte, text(name), []byte{level, flags}, u16(60), joined(payload...))
}

// older connects with an older version; the session lasts unless it is clean.
func (p *plant) older(t testing.TB, level byte, user, client string, clean bool) (w *wire, present bool) {
	t.Helper()
	flags := userFlag | passwordFlag
	if clean {
		flags |= cleanStart
	}
	w = p.dial(t)
	w.version = level
	w.raw(rawConnect3(olderNames()[level], level, flags, text(client), login(user)))
	ack := w.expectRaw(connackByte)
	if len(ack.body) != 2 || ack.body[1] != 0 || ack.body[0] > 1 {
		t.Fatalf("level %d: CONNACK % x", level, ack.body)
	}
	return w, ack.body[0] == 1
}

// closes3 sends data on a connection of MQTT 3.1.1, which must end without a word.
func (p *plant) closes3(t testing.TB, data []byte) {
	t.Helper()
	w, _ := p.older(t, 4, "line1", "violator", true)
	defer w.nc.Close()
	if e := w.violate(data); e.disconnect != none || e.connack != none {
		t.Errorf("% .40x: CONNACK %#x, DISCONNECT %#x", data, e.connack, e.disconnect)
	}
}

// refuses3 sends a CONNECT, which must be answered with the code, or not at all for none.
func (p *plant) refuses3(t testing.TB, connect []byte, code int) {
	t.Helper()
	w := p.dial(t)
	w.version = 4
	defer w.nc.Close()
	w.raw(joined(connect, []byte{pingreqByte, 0}))
	got := none
	for {
		r, err := w.next()
		if err != nil {
			break
		}
		if r.first != connackByte || len(r.body) != 2 || r.body[0] != 0 || got != none {
			t.Fatalf("% .40x: packet %#x % x", connect, r.first, r.body)
		}
		got = int(r.body[1])
	}
	if got != code {
		t.Errorf("% .60x: CONNACK %#x, want %#x", connect, got, code)
	}
}
