package modbus

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
)

// question is a read request that a test device got.
type question struct {
	id           []byte
	unit, fc     byte
	first, count int
}

func (q question) exception(code byte) []byte {
	return append(slices.Clone(q.id), 0, 0, 0, 3, q.unit, q.fc|0x80, code)
}

// registers answers with value in each register.
func (q question) registers(value uint16) []byte {
	out := append(slices.Clone(q.id), 0, 0, 0, byte(3+2*q.count), q.unit, q.fc, byte(2*q.count))
	for range q.count {
		out = binary.BigEndian.AppendUint16(out, value)
	}
	return out
}

// device answers reads over TCP; nil is silence.
func device(answer func(question) []byte) func(net.Conn) {
	return func(c net.Conn) {
		for {
			b := make([]byte, 12)
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			q := question{b[:2], b[6], b[7], int(binary.BigEndian.Uint16(b[8:])), int(binary.BigEndian.Uint16(b[10:]))}
			if reply := answer(q); reply != nil {
				_, _ = c.Write(reply)
			}
		}
	}
}

// lateDevice answers a question for register 100 just before the next one's answer; each
// register holds its address.
func lateDevice(rtu bool, lateSent chan struct{}) func(net.Conn) {
	var mu sync.Mutex
	var held []byte
	answer := func(q question) []byte {
		reply := q.registers(uint16(q.first))
		mu.Lock()
		defer mu.Unlock()
		if q.first == 100 {
			held = append(held, reply...)
			return nil
		}
		if held != nil {
			if !rtu { // an RTU answer dies with its connection
				reply = append(held, reply...)
			}
			held = nil
			close(lateSent)
		}
		return reply
	}
	if rtu {
		return rtuDevice(answer)
	}
	return device(answer)
}

// rtuDevice is device with RTU frames.
func rtuDevice(answer func(question) []byte) func(net.Conn) {
	return func(c net.Conn) {
		for {
			b := make([]byte, 8)
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			q := question{nil, b[0], b[1], int(binary.BigEndian.Uint16(b[2:])), int(binary.BigEndian.Uint16(b[4:]))}
			reply := answer(q)
			if reply == nil {
				continue
			}
			pdu := reply[4:] // unit, function, data: question.registers puts 4 bytes before them
			_, _ = c.Write(append(pdu, crc16(pdu)...))
		}
	}
}

// crc16 is the checksum of RTU frames, written from its definition.
func crc16(b []byte) []byte {
	crc := uint16(0xffff)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			odd := crc&1 == 1
			crc >>= 1
			if odd {
				crc ^= 0xa001
			}
		}
	}
	return binary.LittleEndian.AppendUint16(nil, crc)
}
