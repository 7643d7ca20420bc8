package opcua

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
)

// transportError is an error message of the server's transport layer, which ends the link.
type transportError struct {
	status ua.StatusCode
	reason string
}

func (e *transportError) Error() string {
	if e.reason == "" {
		return fmt.Sprintf("the server ended the connection: %s", statusName(e.status))
	}
	return fmt.Sprintf("the server ended the connection: %s (%s)", statusName(e.status), e.reason)
}

func (e *transportError) Unwrap() error { return e.status }

// hello agrees on sizes, before any goroutine reads.
func (c *channel) hello(url string) error {
	fields, err := (&uacp.Hello{
		ReceiveBufSize: bufferSize, SendBufSize: bufferSize, MaxMessageSize: messageSize, EndpointURL: url,
	}).Encode()
	if err != nil {
		return fmt.Errorf("cannot greet the server: %w", err)
	}
	message := append([]byte("HELF\x00\x00\x00\x00"), fields...)
	binary.LittleEndian.PutUint32(message[4:], uint32(len(message)))
	if err := c.conn.SetDeadline(time.Now().Add(requestPatience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	kind, reply, err := readChunk(c.conn)
	if err != nil {
		return err
	}
	if kind != "ACKF" {
		return fmt.Errorf("the server answers %q to a hello: it does not speak OPC UA", kind)
	}
	ack := &uacp.Acknowledge{}
	if _, err := ack.Decode(reply[headSize:]); err != nil {
		return fmt.Errorf("cannot decode the server's greeting: %w", err)
	}
	if ack.ReceiveBufSize < smallestSize {
		return fmt.Errorf("the server's buffer of %d bytes is too small", ack.ReceiveBufSize)
	}
	c.sendChunk, c.sendTotal = int(min(ack.ReceiveBufSize, bufferSize)), int(ack.MaxMessageSize)
	return c.conn.SetDeadline(time.Time{})
}

// readChunk reads one chunk, head included. An error message is returned as transportError.
func readChunk(r io.Reader) (kind string, chunk []byte, err error) {
	start := make([]byte, headSize)
	if _, err := io.ReadFull(r, start); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the server closed the connection")
		}
		return "", nil, err
	}
	kind = string(start[:4])
	size := binary.LittleEndian.Uint32(start[4:])
	if size < headSize || size > bufferSize {
		return "", nil, fmt.Errorf("the server sent a message of %d bytes where %d are allowed", size, bufferSize)
	}
	chunk = make([]byte, size)
	copy(chunk, start)
	if _, err := io.ReadFull(r, chunk[headSize:]); err != nil {
		return "", nil, fmt.Errorf("the server stopped in the middle of a message: %w", err)
	}
	if kind == "ERRF" {
		return "", nil, decodeTransportError(chunk[headSize:])
	}
	return kind, chunk, nil
}

func decodeTransportError(body []byte) error {
	message := &uacp.Error{}
	if _, err := message.Decode(body); err != nil {
		return fmt.Errorf("cannot decode the server's error message: %w", err)
	}
	return &transportError{status: ua.StatusCode(message.ErrorCode), reason: message.Reason}
}

// receive is the channel's reading goroutine.
func (c *channel) receive() {
	defer func() {
		if p := recover(); p != nil {
			c.fail(fmt.Errorf("cannot understand the server: %v", p))
		}
	}()
	parts := map[uint32]*bytes.Buffer{}
	reader := bufio.NewReaderSize(c.conn, bufferSize)
	for {
		kind, chunk, err := readChunk(reader)
		if err == nil {
			err = c.take(kind, chunk, parts)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// take handles one chunk; its error ends the channel.
func (c *channel) take(kind string, chunk []byte, parts map[uint32]*bytes.Buffer) error {
	plain, err := c.unseal(kind, chunk)
	if err != nil {
		return err
	}
	seq, body, err := splitSequence(plain)
	if err != nil {
		return err
	}
	switch kind[3] {
	case 'C':
		return collect(parts, seq.request, body)
	case 'A':
		delete(parts, seq.request)
		c.deliver(seq.request, answer{err: abortReason(body)})
		return nil
	case 'F':
		if earlier := parts[seq.request]; earlier != nil {
			delete(parts, seq.request)
			earlier.Write(body)
			body = earlier.Bytes()
		}
		return c.finish(kind, seq.request, body)
	}
	return fmt.Errorf("the server sent a chunk of the unknown kind %q", kind)
}

func collect(parts map[uint32]*bytes.Buffer, request uint32, body []byte) error {
	if parts[request] == nil {
		parts[request] = &bytes.Buffer{}
	}
	parts[request].Write(body)
	var total int
	for _, p := range parts {
		total += p.Len()
	}
	if total > messageSize {
		return fmt.Errorf("the server's answers exceed %d bytes", messageSize)
	}
	return nil
}

func abortReason(body []byte) error {
	if len(body) < 4 {
		return ua.StatusBadDecodingError
	}
	return ua.StatusCode(binary.LittleEndian.Uint32(body))
}

// unseal returns a chunk's sequence and body.
func (c *channel) unseal(kind string, chunk []byte) ([]byte, error) {
	switch kind[:3] {
	case "OPN":
		return c.unsealOpen(chunk)
	case "MSG":
		if len(chunk) < channelSize+tokenSize {
			return nil, errSecurity
		}
		c.mu.Lock()
		k, ok := c.known[binary.LittleEndian.Uint32(chunk[channelSize:])]
		sameChannel := binary.LittleEndian.Uint32(chunk[headSize:]) == c.id
		c.mu.Unlock()
		if !ok || !sameChannel {
			return nil, errors.New("the server used keys that were not agreed upon")
		}
		return k.open(chunk, channelSize+tokenSize)
	case "CLO":
		return nil, errors.New("the server closed the secure channel")
	}
	return nil, fmt.Errorf("the server sent %q, which OPC UA does not have here", kind)
}

// unsealOpen insists on the policy and the certificate that were agreed upon.
func (c *channel) unsealOpen(chunk []byte) ([]byte, error) {
	c.mu.Lock()
	waiting := c.opening
	c.mu.Unlock()
	if waiting == nil {
		return nil, errors.New("the server opened a channel that nobody asked for")
	}
	if len(chunk) < channelSize {
		return nil, errSecurity
	}
	buf := ua.NewBuffer(chunk[channelSize:])
	policy := buf.ReadString()
	certificate := buf.ReadBytes()
	buf.ReadBytes() // the thumbprint of our own certificate
	if buf.Error() != nil {
		return nil, errSecurity
	}
	if policy != c.security.policy || c.security.mode != ua.MessageSecurityModeNone && !sameLeaf(certificate, c.security.server) {
		return nil, errors.New("the server opened the channel with another security policy or certificate than it announced")
	}
	return waiting.keys.open(chunk, channelSize+buf.Pos())
}

// finish decodes a whole message. What cannot be decoded is its own request's failure.
func (c *channel) finish(kind string, request uint32, body []byte) error {
	response, err := decodeService(body)
	if err == nil {
		if status := response.Header().ServiceResult; isBad(status) {
			err = status
		}
	}
	if opened, ok := response.(*ua.OpenSecureChannelResponse); ok && err == nil {
		if kind[:3] != "OPN" {
			return errSecurity
		}
		if err := c.install(opened); err != nil {
			return err
		}
	} else if kind[:3] == "OPN" && err == nil {
		return errors.New("the server opened the channel with a message of the wrong type")
	}
	c.deliver(request, answer{response, err})
	return nil
}

// deliver answers a request; one that was given up has no taker any more.
func (c *channel) deliver(request uint32, a answer) {
	c.mu.Lock()
	taker := c.waiting[request]
	delete(c.waiting, request)
	c.mu.Unlock()
	if taker != nil {
		taker(a)
	}
}
