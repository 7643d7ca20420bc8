package mqtt

import (
	"fmt"
	"net"
)

// maxPacket is the longest packet that a broker may send. The protocol allows 256 MiB, and the libraries
// would allocate 4 GiB for a length that breaks it.
const maxPacket = 16 << 20

// framedConn follows the packets of what it reads, and fails where one is longer than is good,
// before a library makes room for it.
type framedConn struct {
	net.Conn
	frames frames
}

// Read is called by one goroutine at a time.
func (c *framedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if broken := c.frames.follow(p[:n]); broken != nil {
		return 0, broken
	}
	return n, err
}

// frames is where a stream stands: in a packet's first byte, its length, or its body.
type frames struct {
	inLength bool
	length   int // as far as it was read
	shift    int // bits of length that were read
	body     int // bytes until the next packet
}

func (f *frames) follow(p []byte) error {
	for len(p) > 0 {
		if f.body > 0 {
			n := min(f.body, len(p))
			f.body -= n
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		if !f.inLength {
			*f = frames{inLength: true}
			continue
		}
		f.length |= int(b&0x7f) << f.shift
		f.shift += 7
		switch {
		case f.length > maxPacket, f.shift >= 28 && b&0x80 != 0:
			return fmt.Errorf("the broker breaks the protocol or sends a packet of more than %d MiB", maxPacket>>20)
		case b&0x80 == 0:
			*f = frames{body: f.length}
		}
	}
	return nil
}
