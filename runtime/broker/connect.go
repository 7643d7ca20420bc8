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
	"github.com/millwright/millwright/internal/spec"
)

// maxConnect is the largest CONNECT: everything in it is at most 64 KiB.
const maxConnect = 512 << 10

// connect reads CONNECT, logs the client in, gives it its session and answers.
func (c *conn) connect() error {
	if err := c.setDeadlines(c.net.SetReadDeadline, time.Now().Add(c.b.limits.ConnectTimeout)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.b.limits.ConnectTimeout)
	defer cancel()
	pk, err := c.readConnect()
	if err != nil {
		return err
	}
	c.version = pk.ProtocolVersion
	if err := c.accept(ctx, pk); err != nil {
		return c.refuse(err)
	}
	c.log.Debug("client connected", "version", c.version, "resumed", c.resumed)
	if c.former != nil {
		c.b.publishWill(ctx, c.former)
	}
	return c.sendConnack(pk)
}

func (c *conn) readConnect() (packets.Packet, error) {
	pk, err := c.readPacket(min(maxConnect, c.b.limits.PacketBytes))
	if err != nil {
		return pk, err
	}
	if pk.FixedHeader.Type != packets.Connect {
		return pk, packets.ErrProtocolViolationRequireFirstConnect
	}
	return pk, nil
}

// accept checks the CONNECT packet, the login and the session.
func (c *conn) accept(ctx context.Context, pk packets.Packet) error {
	if err := checkConnect(&pk); err != nil {
		return err
	}
	user := string(pk.Connect.Username)
	c.log = c.log.With("identity", logged(user), "client", logged(pk.Connect.ClientIdentifier))
	var err error
	if c.credential, err = c.login(ctx, user, string(pk.Connect.Password)); err != nil {
		return err
	}
	c.will = newWill(user, &pk)
	c.keepAlive = time.Duration(pk.Connect.Keepalive) * time.Second
	c.maxPacket = pk.Properties.MaximumPacketSize
	c.window = min(cmp.Or(int(pk.Properties.ReceiveMaximum), math.MaxUint16), c.b.limits.Inflight)
	key := sessionKey{user, pk.Connect.ClientIdentifier}
	if key.client == "" {
		key.client = "auto-" + rand.Text()
		c.assigned = key.client
	}
	return c.takeSession(ctx, key, pk.Connect.Clean, sessionExpiry(&pk))
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
	case pk.Properties.AuthenticationMethod != "":
		return packets.ErrBadAuthenticationMethod
	}
	return nil
}

// login returns the hash that the secret belongs to. Who is turned away unheard, since too
// many were wrong before, is told to come again, as a correct client should.
func (c *conn) login(ctx context.Context, user, secret string) (hash string, err error) {
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
		c.log.Warn("cannot verify a login", "error", err)
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
	m.forward(&p.WillProperties)
	return &will{as: as, msg: m, delay: time.Duration(p.WillProperties.WillDelayInterval) * time.Second}
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
	pk.Properties.ReasonString = code.Reason
	var buf bytes.Buffer
	if encodeErr := c.encode(&buf, pk); encodeErr != nil {
		return errors.Join(err, encodeErr)
	}
	return errors.Join(err, c.flush(&buf))
}

// refusalV3 translates to the codes of MQTT 3.1.1, 3.2.2.3; a wrong login is "not
// authorised", as other brokers have it.
func refusalV3(code packets.Code) (packets.Code, bool) {
	switch code {
	case packets.ErrUnsupportedProtocolVersion:
		return packets.Err3UnsupportedProtocolVersion, true
	case packets.ErrClientIdentifierNotValid:
		return packets.Err3ClientIdentifierNotValid, true
	case packets.ErrServerBusy, packets.ErrConnectionRateExceeded, errTooManySessions:
		return packets.Err3ServerUnavailable, true
	case errBadLogin:
		return packets.Err3NotAuthorized, true
	default:
		return packets.Code{}, false
	}
}

// aliasMaximum is how many topic aliases a client may use.
const aliasMaximum = 64

func (c *conn) sendConnack(connect packets.Packet) error {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: c.resumed}
	pk.Properties = packets.Properties{
		AssignedClientID:  c.assigned,
		ReceiveMaximum:    uint16(min(c.b.limits.Inflight, math.MaxUint16)),
		MaximumPacketSize: uint32(c.b.limits.PacketBytes),
		TopicAliasMaximum: aliasMaximum,
	}
	if connect.ProtocolVersion < 4 {
		pk.SessionPresent = false // MQTT 3.1 has no such flag
	}
	var buf bytes.Buffer
	if err := c.encode(&buf, pk); err != nil {
		return err
	}
	return c.flush(&buf)
}
