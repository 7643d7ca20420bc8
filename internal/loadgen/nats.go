package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// nats is the codec of NATS's core protocol, a text protocol with lines that end in CRLF.
type nats struct{}

// maxLine is the longest line that is taken for one; INFO is about 500 bytes.
const maxLine = 64 << 10

func (nats) next(buf []byte, f *frame) (int, error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) > maxLine {
			return 0, errMalformed
		}
		return 0, nil
	}
	f.kind = kindOther
	if end > 0 && buf[0] == 'M' {
		return natsMessage(buf, end, f)
	}
	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	switch {
	case bytes.Equal(line, []byte("PING")):
		f.kind = kindPing
	case bytes.Equal(line, []byte("PONG")):
		f.kind, f.inflight, f.again = kindAccepted, 0, false
	case bytes.HasPrefix(line, []byte("-ERR")):
		return end + 1, fmt.Errorf("%w: %s", errRefused, bytes.TrimSpace(line[4:]))
	case bytes.HasPrefix(line, []byte("INFO")), bytes.HasPrefix(line, []byte("+OK")):
	default:
		return 0, errMalformed
	}
	return end + 1, nil
}

// natsMessage decodes "MSG <subject> <sid> [reply] <size>", the line up to end, and the payload.
func natsMessage(buf []byte, end int, f *frame) (int, error) {
	size, scale, i := 0, 1, end-1
	if buf[i] == '\r' {
		i--
	}
	for ; i > 0 && buf[i] != ' '; i-- {
		d := int(buf[i]) - '0'
		if d < 0 || d > 9 || scale > 1e9 {
			return 0, errMalformed
		}
		size += d * scale
		scale *= 10
	}
	if i < 4 || scale == 1 || string(buf[:4]) != "MSG " {
		return 0, errMalformed
	}
	total := end + 1 + size + 2
	if len(buf) < total {
		return 0, nil
	}
	f.kind, f.qos, f.again, f.id = kindMessage, 0, false, 0
	f.payload = buf[end+1 : end+1+size]
	return total, nil
}

// hello is CONNECT and a PING, whose PONG says that the server has accepted.
func (nats) hello(buf []byte, s *Server, id string, _ bool) []byte {
	options := map[string]any{"verbose": false, "pedantic": false, "echo": true, "lang": "go", "version": "1", "protocol": 1, "name": id}
	if s.User != "" {
		options["user"], options["pass"] = s.User, s.Password
	}
	text, err := json.Marshal(options)
	if err != nil {
		panic("loadgen: strings and numbers that JSON cannot hold: " + err.Error())
	}
	buf = append(append(buf, "CONNECT "...), text...)
	return append(buf, "\r\nPING\r\n"...)
}

func (nats) subscribe(buf []byte, filters []string, _ byte) []byte {
	for i, filter := range filters {
		buf = fmt.Appendf(buf, "SUB %s %d\r\n", filter, i+1)
	}
	return append(buf, "PING\r\n"...)
}

func (nats) message(buf []byte, topic string, size int, _ byte) (out []byte, idAt, payloadAt int) {
	buf = append(append(append(buf, "PUB "...), topic...), ' ')
	buf = append(strconv.AppendInt(buf, int64(size), 10), "\r\n"...)
	payloadAt = len(buf)
	buf = append(buf, make([]byte, size)...)
	return append(buf, "\r\n"...), -1, payloadAt
}

func (nats) answer(buf []byte, f *frame) []byte {
	if f.kind == kindPing {
		buf = append(buf, "PONG\r\n"...)
	}
	return buf
}

func (nats) bye(buf []byte) []byte { return buf }

func (nats) topic(publisher, n int) string { return fmt.Sprintf("load.%05d.%04d", publisher, n) }

func (nats) everything() string { return "load.>" }
