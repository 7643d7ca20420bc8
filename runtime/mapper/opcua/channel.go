package opcua

import (
	"context"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
)

// channel is a secure channel on a TCP connection. The library has one too; ours decodes in
// a goroutine that survives what a broken server sends, obeys contexts, ends with the link
// and answers in the order in which the server did. Whoever opens it must call close.
type channel struct {
	conn      net.Conn
	security  security
	lifetime  time.Duration // of the keys, as asked for
	sendChunk int           // the longest chunk that the server takes
	sendTotal int           // the longest message that the server takes, 0: any
	running   sync.WaitGroup
	renewAt   chan time.Duration

	sendLock chan struct{} // holds one element while nobody sends
	number   uint32        // of the last chunk sent; guarded by sendLock

	mu      sync.Mutex
	id      uint32
	current keys            // for sending
	known   map[uint32]keys // for receiving, by token
	request uint32
	waiting map[uint32]func(answer)
	opening *opening
	done    chan struct{}
	err     error
}

// answer is a response or why there is none.
type answer struct {
	response ua.Response
	err      error
}

// opening is the OpenSecureChannel that waits for its answer.
type opening struct {
	nonce []byte
	keys  keys
}

const (
	writePatience   = 10 * time.Second
	requestPatience = 10 * time.Second
)

// openChannel connects and opens the channel; it ends soon after ctx does.
func openChannel(ctx context.Context, t target, s security, lifetime time.Duration) (*channel, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.address())
	if err != nil {
		return nil, err
	}
	c := &channel{
		conn: conn, security: s, lifetime: lifetime, renewAt: make(chan time.Duration, 1),
		sendLock: make(chan struct{}, 1), known: map[uint32]keys{},
		waiting: map[uint32]func(answer){}, done: make(chan struct{}),
	}
	c.sendLock <- struct{}{}
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	if err := c.hello(t.url()); err != nil {
		c.fail(err)
		return nil, c.reason()
	}
	c.running.Go(c.receive)
	if err := c.open(ctx, ua.SecurityTokenRequestTypeIssue); err != nil {
		c.fail(err)
		c.running.Wait()
		return nil, c.reason()
	}
	c.running.Go(c.renew)
	return c, nil
}

// fail ends the channel; the first reason counts.
func (c *channel) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
		c.conn.Close() //nolint:errcheck,gosec // the link is given up
	}
}

func (c *channel) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// close says goodbye, unless that would take time, and waits for the channel's goroutines.
func (c *channel) close(ctx context.Context) {
	if c.reason() == nil {
		c.send(ctx, &ua.CloseSecureChannelRequest{RequestHeader: &ua.RequestHeader{}}, nil) //nolint:errcheck // it closes anyway
	}
	c.fail(net.ErrClosed)
	c.running.Wait()
}

// call sends a request and waits for its answer. A bad service result is an error of type
// ua.StatusCode.
func (c *channel) call(ctx context.Context, request ua.Request, header *ua.RequestHeader) (ua.Response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestPatience, errNoAnswer)
	defer cancel()
	answers := make(chan answer, 1)
	request.SetHeader(header)
	forget, err := c.send(ctx, request, func(a answer) { answers <- a })
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.response, a.err
	case <-c.done:
		return nil, c.reason()
	case <-ctx.Done():
		forget()
		return nil, context.Cause(ctx)
	}
}

var errNoAnswer = fmt.Errorf("the server did not answer within %v", requestPatience)

// send sends a request. Its answer is given to deliver from the receiving goroutine, which
// must not be held up; nil sends a request that has no answer. Forget takes deliver back.
func (c *channel) send(ctx context.Context, request ua.Request, deliver func(answer)) (forget func(), err error) {
	id, forget := c.register(deliver)
	h := request.Header()
	h.Timestamp, h.RequestHandle = time.Now(), id
	if h.AuthenticationToken == nil {
		h.AuthenticationToken = ua.NewTwoByteNodeID(0)
	}
	body, err := encodeService(request)
	if err == nil {
		err = c.transmit(ctx, request, id, body)
	}
	if err != nil {
		forget()
		return func() {}, err
	}
	return forget, nil
}

func (c *channel) register(deliver func(answer)) (uint32, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.request++
	if c.request == 0 {
		c.request = 1
	}
	id := c.request
	if deliver != nil {
		c.waiting[id] = deliver
	}
	return id, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}
}

// transmit writes a message's chunks, one message at a time.
func (c *channel) transmit(ctx context.Context, request ua.Request, id uint32, body []byte) error {
	select {
	case <-c.sendLock:
	case <-c.done:
		return c.reason()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { c.sendLock <- struct{}{} }()
	var chunks []byte
	var err error
	if open, ok := request.(*ua.OpenSecureChannelRequest); ok {
		chunks, err = c.openChunk(open, id, body)
	} else {
		kind := "MSG"
		if _, ok := request.(*ua.CloseSecureChannelRequest); ok {
			kind = "CLO"
		}
		chunks, err = c.messageChunks(kind, id, body)
	}
	if err != nil {
		return err
	}
	return c.write(ctx, chunks)
}

// messageChunks cuts a message and protects each piece with the current keys.
func (c *channel) messageChunks(kind string, id uint32, body []byte) ([]byte, error) {
	if c.sendTotal > 0 && len(body) > c.sendTotal {
		return nil, ua.StatusBadRequestTooLarge
	}
	c.mu.Lock()
	k, channelID := c.current, c.id
	c.mu.Unlock()
	size := k.bodySize(c.sendChunk)
	var all []byte
	for {
		piece, last := body, "F"
		if len(body) > size {
			piece, last = body[:size], "C"
		}
		body = body[len(piece):]
		chunk := binary.LittleEndian.AppendUint32(head(kind+last, channelID), k.token)
		chunk = append(c.next(id).appendTo(chunk), piece...)
		sealed, err := k.seal(chunk, channelSize+tokenSize)
		if err != nil {
			return nil, err
		}
		all = append(all, sealed...)
		if last == "F" {
			return all, nil
		}
	}
}

// next numbers a chunk; the numbers start again below 1,024 before they run out.
func (c *channel) next(request uint32) sequence {
	c.number++
	if c.number > 4294966271 {
		c.number = 1
	}
	return sequence{number: c.number, request: request}
}

// write gives up when ctx ends in the middle, and then the link is lost: half a message
// cannot be taken back.
func (c *channel) write(ctx context.Context, b []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.conn.SetWriteDeadline(time.Now().Add(writePatience)) //nolint:errcheck,gosec // the write tells
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		c.conn.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck,gosec // the write tells
	})
	_, err := c.conn.Write(b)
	if !stop() {
		<-interrupted
	}
	if err != nil {
		c.fail(fmt.Errorf("cannot send to the server: %w", err))
		return c.reason()
	}
	return nil
}

// open asks for new keys and waits until receive has installed them.
func (c *channel) open(ctx context.Context, kind ua.SecurityTokenRequestType) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestPatience, errNoAnswer)
	defer cancel()
	k, err := c.security.asymmetric()
	if err != nil {
		return err
	}
	nonce, err := k.algo.MakeNonce()
	if err != nil {
		return fmt.Errorf("cannot make a nonce: %w", err)
	}
	c.mu.Lock()
	c.opening = &opening{nonce: nonce, keys: k}
	c.mu.Unlock()
	_, err = c.call(ctx, &ua.OpenSecureChannelRequest{
		RequestType: kind, SecurityMode: c.security.mode, ClientNonce: nonce,
		RequestedLifetime: uint32(c.lifetime / time.Millisecond),
	}, &ua.RequestHeader{})
	return err
}

// openChunk is the one chunk of an OpenSecureChannel request.
func (c *channel) openChunk(_ *ua.OpenSecureChannelRequest, id uint32, body []byte) ([]byte, error) {
	c.mu.Lock()
	k, channelID := c.opening.keys, c.id
	c.mu.Unlock()
	chunk := head("OPNF", channelID)
	for _, field := range [][]byte{[]byte(c.security.policy), c.security.certificateChain(), c.security.serverThumbprint()} {
		chunk = appendBytes(chunk, field)
	}
	clear := len(chunk)
	return k.seal(append(c.next(id).appendTo(chunk), body...), clear)
}

func appendBytes(chunk, field []byte) []byte {
	if field == nil {
		return binary.LittleEndian.AppendUint32(chunk, 0xffffffff)
	}
	return append(binary.LittleEndian.AppendUint32(chunk, uint32(len(field))), field...)
}

// install derives the keys from the server's answer to an open; receive calls it.
func (c *channel) install(r *ua.OpenSecureChannelResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opening == nil || r.SecurityToken == nil {
		return errors.New("the server opened a channel that nobody asked for")
	}
	k := keys{token: r.SecurityToken.TokenID}
	if c.security.mode != ua.MessageSecurityModeNone {
		algo, err := uapolicy.Symmetric(c.security.policy, c.opening.nonce, r.ServerNonce)
		if err != nil {
			return fmt.Errorf("cannot derive the channel's keys: %w", err)
		}
		k.algo, k.sign = algo, true
		k.encrypt = c.security.mode == ua.MessageSecurityModeSignAndEncrypt
	}
	for token := range c.known { // the keys before stay valid until the server has used the new ones
		if token != c.current.token {
			delete(c.known, token)
		}
	}
	c.id, c.current, c.opening = r.SecurityToken.ChannelID, k, nil
	c.known[k.token] = k
	lifetime := time.Duration(r.SecurityToken.RevisedLifetime) * time.Millisecond
	select {
	case c.renewAt <- min(lifetime, c.lifetime) * 3 / 4:
	default:
	}
	return nil
}

// renew asks for new keys whenever three quarters of the old ones' life are over.
func (c *channel) renew() {
	for {
		var after time.Duration
		select {
		case after = <-c.renewAt:
		case <-c.done:
			return
		}
		timer := time.NewTimer(max(after, time.Second))
		select {
		case <-timer.C:
		case <-c.done:
			timer.Stop()
			return
		}
		if err := c.open(context.Background(), ua.SecurityTokenRequestTypeRenew); err != nil {
			c.fail(fmt.Errorf("cannot renew the secure channel: %w", err))
			return
		}
	}
}

func rsaKey(cert []byte) (*rsa.PublicKey, error) {
	parsed, err := uapolicy.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the server's certificate: %w", err)
	}
	key, ok := parsed.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("cannot use the server's certificate: its key is not RSA")
	}
	return key, nil
}
