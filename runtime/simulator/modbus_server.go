package simulator

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
)

// The exceptions that the device answers with.
const (
	exceptionFunction = 1
	exceptionAddress  = 2
	exceptionValue    = 3
	exceptionNoTarget = 11 // a gateway's unit does not answer
)

// modbusDevice serves tables over Modbus TCP. It is written apart from the client library
// that the mapper uses, so that one mistake cannot hide in both.
type modbusDevice struct {
	listener net.Listener
	tables   *tables
	log      *slog.Logger
	running  sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// startModbus listens on a free loopback port.
func startModbus(opts Options) (*modbusDevice, error) {
	t, err := newTables(opts)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &modbusDevice{listener: l, tables: t, log: opts.Log, open: map[net.Conn]struct{}{}}
	d.running.Go(d.accept)
	return d, nil
}

// Addr is the address that was bound.
func (d *modbusDevice) Addr() string { return d.listener.Addr().String() }

// Close ends all connections and waits for them.
func (d *modbusDevice) Close() error {
	err := d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for c := range d.open {
		c.Close() //nolint:errcheck // its goroutine ends by it
	}
	d.mu.Unlock()
	d.running.Wait()
	return err
}

func (d *modbusDevice) accept() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		d.running.Go(func() { d.serve(conn) })
	}
}

func (d *modbusDevice) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nothing is left to be told
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.open[conn] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.open, conn)
		d.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	for {
		header, pdu, err := readFrame(in)
		if err != nil {
			d.log.Debug("a Modbus client is gone", "client", conn.RemoteAddr().String(), "reason", err)
			return
		}
		unit := header[6]
		if unit == silentUnit {
			continue
		}
		if _, err := conn.Write(appendFrame(header, d.tables.answer(unit, pdu))); err != nil {
			return
		}
	}
}

// readFrame reads an MBAP header (7 bytes) and what it announces.
func readFrame(in io.Reader) (header [7]byte, pdu []byte, err error) {
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return header, nil, err
	}
	length := int(binary.BigEndian.Uint16(header[4:]))
	if protocol := binary.BigEndian.Uint16(header[2:]); protocol != 0 || length < 2 || length > 254 {
		return header, nil, fmt.Errorf("a frame of protocol %d and length %d is not Modbus", protocol, length)
	}
	pdu = make([]byte, length-1)
	_, err = io.ReadFull(in, pdu)
	return header, pdu, err
}

func appendFrame(header [7]byte, pdu []byte) []byte {
	binary.BigEndian.PutUint16(header[4:], uint16(len(pdu)+1))
	return append(header[:], pdu...)
}

// answer returns the reply to one request.
func (t *tables) answer(unit byte, pdu []byte) []byte {
	if unit < 1 || unit > lastUnit {
		return exception(pdu[0], exceptionNoTarget)
	}
	switch pdu[0] {
	case 1:
		return answerBits(pdu, unit, t.readCoils)
	case 2:
		return answerBits(pdu, unit, t.readDiscrete)
	case 3:
		return answerRegisters(pdu, unit, t.readHolding)
	case 4:
		return answerRegisters(pdu, unit, t.readInput)
	case 5, 6:
		return t.answerSingle(unit, pdu)
	case 15, 16:
		return t.answerMultiple(unit, pdu)
	}
	return exception(pdu[0], exceptionFunction)
}

func exception(function, code byte) []byte { return []byte{function | 0x80, code} }

// span takes address and count out of a request and checks the count.
func span(pdu []byte, most int) (address, count int, ok bool) {
	if len(pdu) < 5 {
		return 0, 0, false
	}
	address, count = int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
	return address, count, count >= 1 && count <= most
}

func answerRegisters(pdu []byte, unit byte, read func(byte, int, int) ([]uint16, bool)) []byte {
	address, count, ok := span(pdu, 125)
	if !ok || len(pdu) != 5 {
		return exception(pdu[0], exceptionValue)
	}
	values, ok := read(unit, address, count)
	if !ok {
		return exception(pdu[0], exceptionAddress)
	}
	out := []byte{pdu[0], byte(2 * count)}
	for _, v := range values {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return out
}

func answerBits(pdu []byte, unit byte, read func(byte, int, int) ([]bool, bool)) []byte {
	address, count, ok := span(pdu, 2000)
	if !ok || len(pdu) != 5 {
		return exception(pdu[0], exceptionValue)
	}
	values, ok := read(unit, address, count)
	if !ok {
		return exception(pdu[0], exceptionAddress)
	}
	out := make([]byte, 2+(count+7)/8)
	out[0], out[1] = pdu[0], byte(len(out)-2)
	for i, v := range values {
		if v {
			out[2+i/8] |= 1 << (i % 8)
		}
	}
	return out
}

// answerSingle writes one coil or register (functions 5 and 6).
func (t *tables) answerSingle(unit byte, pdu []byte) []byte {
	if len(pdu) != 5 {
		return exception(pdu[0], exceptionValue)
	}
	address, value := int(binary.BigEndian.Uint16(pdu[1:])), binary.BigEndian.Uint16(pdu[3:])
	if pdu[0] == 6 {
		if !t.writeHolding(unit, address, []uint16{value}) {
			return exception(pdu[0], exceptionAddress)
		}
		return pdu
	}
	if value != 0 && value != 0xff00 {
		return exception(pdu[0], exceptionValue)
	}
	if !t.writeCoils(unit, address, []bool{value != 0}) {
		return exception(pdu[0], exceptionAddress)
	}
	return pdu
}

// answerMultiple writes several coils or registers (functions 15 and 16).
func (t *tables) answerMultiple(unit byte, pdu []byte) []byte {
	most, size := 1968, func(count int) int { return (count + 7) / 8 }
	if pdu[0] == 16 {
		most, size = 123, func(count int) int { return 2 * count }
	}
	address, count, ok := span(pdu, most)
	if !ok || len(pdu) != 6+size(count) || int(pdu[5]) != size(count) {
		return exception(pdu[0], exceptionValue)
	}
	data := pdu[6:]
	if pdu[0] == 16 {
		values := make([]uint16, count)
		for i := range values {
			values[i] = binary.BigEndian.Uint16(data[2*i:])
		}
		ok = t.writeHolding(unit, address, values)
	} else {
		values := make([]bool, count)
		for i := range values {
			values[i] = data[i/8]>>(i%8)&1 == 1
		}
		ok = t.writeCoils(unit, address, values)
	}
	if !ok {
		return exception(pdu[0], exceptionAddress)
	}
	return pdu[:5]
}
