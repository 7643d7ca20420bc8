package broker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/journal"
	"github.com/millwright/millwright/internal/spec"
)

// maxConnect is the largest CONNECT: everything in it is at most 64 KiB.
const maxConnect = 512 << 10

// totalConnects bounds the large CONNECTs that are being read.
const totalConnects = 16 << 20

// connect reads CONNECT, logs the client in, gives it its session and answers.
func (c *conn) connect(ctx context.Context) error {
	if err := c.setDeadlines(c.net.SetReadDeadline, time.Now().Add(c.b.limits.ConnectTimeout)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.b.limits.ConnectTimeout)
	defer cancel()
	pk, err := c.readConnect()
	if err != nil && c.version == 5 {
		return c.refuse(err) // it is a CONNECT, and MQTT 5 has a code for what is wrong with it
	}
	if err != nil {
		return err
	}
	c.version, c.in.old = pk.ProtocolVersion, pk.ProtocolVersion == 3
	err = c.accept(ctx, pk)
	if c.former != nil {
		c.b.publishWill(ctx, c.former, patient)
		c.former = nil
	}
	if err == nil {
		err = c.sendConnack(ctx)
	}
	if err != nil {
		return c.refuse(err)
	}
	return nil
}

func (c *conn) readConnect() (packets.Packet, error) {
	first, body, err := c.in.packet(min(maxConnect, c.b.limits.PacketBytes))
	if err != nil {
		return packets.Packet{}, err
	}
	if first>>4 != packets.Connect {
		return packets.Packet{}, packets.ErrProtocolViolationRequireFirstConnect
	}
	version, ok := versionOf(body)
	if ok && version != 3 && version != 4 && version != 5 {
		c.version = 5 // the code for it is the newest version's (MQTT 5.0, 3.1.2.2)
		return packets.Packet{}, packets.ErrUnsupportedProtocolVersion
	}
	c.version = version
	return c.decode(first, body)
}

// versionOf returns the protocol version that a CONNECT asks for.
func versionOf(body []byte) (version byte, ok bool) {
	in := cursor{rest: body}
	name := in.string()
	version = in.byte()
	return version, !in.bad && (string(name) == "MQTT" || string(name) == "MQIsdp")
}

// accept checks the CONNECT packet, the login and the session.
func (c *conn) accept(ctx context.Context, pk packets.Packet) error {
	if err := checkConnect(&pk); err != nil {
		return err
	}
	c.user, c.client = string(pk.Connect.Username), strings.Clone(pk.Connect.ClientIdentifier) // not the packet whose part it is
	c.maxPacket = int(pk.Properties.MaximumPacketSize)
	var err error
	if c.credential, err = c.login(ctx, c.user, string(pk.Connect.Password)); err != nil {
		return err
	}
	c.settings(&pk)
	if c.client == "" {
		c.client = "auto-" + rand.Text()
		c.assigned = true
	}
	return c.takeSession(ctx, sessionKey{c.user, c.client}, pk.Connect.Clean, sessionExpiry(&pk))
}

// settings takes over what the client asks for (MQTT 5.0, 3.1.2.11).
func (c *conn) settings(pk *packets.Packet) {
	p := &pk.Properties
	c.will = newWill(c.user, pk)
	c.keepAlive = time.Duration(pk.Connect.Keepalive) * time.Second
	if c.version == 5 && (c.keepAlive == 0 || c.keepAlive > c.b.limits.KeepAlive) {
		c.keepAlive, c.serverKeepAlive = c.b.limits.KeepAlive, true
	}
	c.window = min(cmp.Or(int(p.ReceiveMaximum), math.MaxUint16), c.b.limits.Inflight)
	c.aliasesOut = min(p.TopicAliasMaximum, aliasMaximum)
	c.problems = !p.RequestProblemInfoFlag || p.RequestProblemInfo == 1
	if c.version == 5 {
		c.receive = min(c.b.limits.Inflight, math.MaxUint16)
	}
}

// checkConnect refuses what MQTT forbids (MQTT 5.0, 3.1).
func checkConnect(pk *packets.Packet) error {
	p := &pk.Connect
	named := bytes.Equal(p.ProtocolName, []byte("MQTT")) && (pk.ProtocolVersion == 4 || pk.ProtocolVersion == 5) ||
		bytes.Equal(p.ProtocolName, []byte("MQIsdp")) && pk.ProtocolVersion == 3
	switch {
	case !named:
		return packets.ErrUnsupportedProtocolVersion
	case pk.ReservedBit != 0:
		return packets.ErrProtocolViolationReservedBit
	case p.WillQos > 2 || !p.WillFlag && (p.WillQos > 0 || p.WillRetain):
		return packets.ErrProtocolViolationWillFlagSurplusRetain
	case p.WillFlag && spec.CheckTopic(p.WillTopic) != nil:
		return packets.ErrTopicNameInvalid
	case pk.ProtocolVersion < 5 && p.PasswordFlag && !p.UsernameFlag:
		return packets.ErrProtocolViolationFlagNoUsername
	case pk.ProtocolVersion < 5 && p.ClientIdentifier == "" && (!p.Clean || pk.ProtocolVersion == 3):
		return packets.ErrClientIdentifierNotValid
	}
	return nil
}

// login returns the hash that the secret belongs to. Who is turned away unheard, since too
// many were wrong before, is told to come again, as a correct client should.
func (c *conn) login(ctx context.Context, user, secret string) (hash string, err error) {
	select {
	case <-c.b.synced:
	case <-ctx.Done():
		return "", packets.ErrServerUnavailable // before the first policy nobody is known
	}
	var hashes []string
	if id := c.b.policy.Load().identities[user]; id != nil {
		hashes = id.Credentials
	}
	a := credential.Attempt{User: user, Address: c.net.RemoteAddr().String(), Secret: secret}
	hash, err = c.b.opts.Login(ctx, a, hashes)
	var limited *credential.LimitedError
	switch {
	case errors.As(err, &limited):
		return "", errors.Join(packets.ErrConnectionRateExceeded, err)
	case err != nil:
		c.logger().Warn("cannot verify a login", "error", err)
		return "", packets.ErrServerBusy
	case hash == "":
		return "", errBadLogin
	}
	return hash, nil
}

// maxLoggedName is how many bytes of a name that a client chose are logged.
const maxLoggedName = 128

// logged returns what of a client's name goes to the log. Before the log-in it may be any
// text of 64 KiB.
func logged(name string) string {
	if len(name) > maxLoggedName {
		name = name[:maxLoggedName] + "…"
	}
	return strings.ToValidUTF8(strings.Clone(name), "?")
}

// sessionExpiry returns the seconds that the session outlives the connection.
func sessionExpiry(pk *packets.Packet) uint32 {
	if pk.ProtocolVersion == 5 {
		return pk.Properties.SessionExpiryInterval
	}
	if pk.Connect.Clean {
		return 0
	}
	return neverExpires
}

func newWill(as string, pk *packets.Packet) *will {
	p := &pk.Connect
	if !p.WillFlag {
		return nil
	}
	m := &message{Message: Message{Topic: p.WillTopic, Payload: p.WillPayload, QoS: p.WillQos, Retain: p.WillRetain}}
	m.props = willProperties(&p.WillProperties)
	return &will{
		as: as, msg: m, delay: time.Duration(p.WillProperties.WillDelayInterval) * time.Second,
		lifetime: time.Duration(p.WillProperties.MessageExpiryInterval) * time.Second,
	}
}

// takeSession attaches the session, after another connection that holds it has gone.
func (c *conn) takeSession(ctx context.Context, key sessionKey, clean bool, expiry uint32) error {
	for {
		resumed, err := c.b.attach(c, key, clean, expiry)
		var taken errTaken
		if !errors.As(err, &taken) {
			c.resumed = resumed
			return err
		}
		taken.by.stop(errTakenOver)
		select {
		case <-taken.by.done:
		case <-ctx.Done():
			return packets.ErrServerBusy
		}
	}
}

// refuse answers a CONNECT that is not accepted, where MQTT has a code for it.
func (c *conn) refuse(err error) error {
	c.b.stats.refused.Add(1)
	var code packets.Code
	if !errors.As(err, &code) {
		return err
	}
	if c.version < 5 {
		v3, ok := refusalV3(code)
		if !ok {
			return err
		}
		code = v3
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code.Code}
	data, encodeErr := c.withReason(pk, code.Reason)
	if encodeErr != nil || data == nil {
		return errors.Join(err, encodeErr)
	}
	if deadlineErr := c.setDeadlines(c.net.SetWriteDeadline, time.Now().Add(farewell)); deadlineErr != nil {
		return errors.Join(err, deadlineErr)
	}
	return errors.Join(err, c.writeAll(data))
}

// refusalV3 translates to the codes of MQTT 3.1.1, 3.2.2.3; a wrong login is "not
// authorised", as other brokers have it.
func refusalV3(code packets.Code) (packets.Code, bool) {
	switch code {
	case packets.ErrUnsupportedProtocolVersion:
		return packets.Err3UnsupportedProtocolVersion, true
	case packets.ErrClientIdentifierNotValid:
		return packets.Err3ClientIdentifierNotValid, true
	case packets.ErrServerBusy, packets.ErrServerUnavailable, packets.ErrConnectionRateExceeded, errTooManySessions:
		return packets.Err3ServerUnavailable, true
	case errBadLogin:
		return packets.Err3NotAuthorized, true
	default:
		return packets.Code{}, false
	}
}

// aliasMaximum is how many topic aliases a client may use.
const aliasMaximum = 64

// sendConnack answers when the session is on disk, if it is one that must be. Messages wait for it.
func (c *conn) sendConnack(ctx context.Context) error {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: c.resumed && c.version >= 4}
	pk.Properties = packets.Properties{
		ReceiveMaximum:    uint16(min(c.b.limits.Inflight, math.MaxUint16)),
		MaximumPacketSize: uint32(c.b.limits.PacketBytes),
		TopicAliasMaximum: aliasMaximum,
	}
	if c.assigned {
		pk.Properties.AssignedClientID = c.client
	}
	if c.serverKeepAlive {
		pk.Properties.ServerKeepAlive, pk.Properties.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true
	}
	data, err := c.encode(pk)
	if err != nil {
		return err
	}
	if c.maxPacket > 0 && len(data) > c.maxPacket {
		return errors.New("the client takes no packet as large as CONNACK")
	}
	if at := c.b.sessionRecord(c.session); !c.b.onDisk(at) {
		if err := c.b.journal.Await(ctx, at); err != nil {
			return errors.Join(packets.ErrServerUnavailable, err)
		}
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.out.subacks--
	c.out.append(data)
	c.welcomed = true
	c.fanout().touch(c)
	return nil
}

// sessionRecord returns where a session lies on disk, 0 for nowhere.
func (b *Broker) sessionRecord(s *session) journal.Position {
	b.order.Lock()
	defer b.order.Unlock()
	return s.record
}
