package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	pahosession "github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	// receiveMaximum is how many messages the broker may send ahead of our acknowledgements.
	receiveMaximum = 1000
	// filtersAtOnce is how many filters go into one SUBSCRIBE or UNSUBSCRIBE.
	filtersAtOnce = 100
	// forever is a session expiry interval that never ends.
	forever = 0xffffffff
)

// client5 speaks MQTT 5.
type client5 struct {
	*paho.Client
	state session5
	ids   bool // the broker knows subscription identifiers
	limit int  // the longest packet that the broker takes, in bytes; 0: any
}

// session5 keeps what the library does not guard: it races, panics, and would take the process along, when an
// acknowledgement arrives while the connection is being closed.
type session5 struct {
	pahosession.SessionManager
	lost func(error)
	// closing orders acknowledgements and the loss of the connection. A message is not held
	// by it: it may wait for its reader, and the library guards that way itself.
	closing *sync.Mutex
}

// PacketReceived handles an acknowledgement or a message with one.
func (s session5) PacketReceived(p *packets.ControlPacket, to chan<- *packets.Publish) (err error) {
	if p.Type != packets.PUBLISH {
		s.closing.Lock()
		defer s.closing.Unlock()
	}
	defer s.contain(&err)
	return s.SessionManager.PacketReceived(p, to)
}

// ConnectionLost hears of the end of the connection.
func (s session5) ConnectionLost(d *packets.Disconnect) error {
	s.closing.Lock()
	defer s.closing.Unlock()
	return s.SessionManager.ConnectionLost(d)
}

// Ack acknowledges a message.
func (s session5) Ack(p *packets.Publish) (err error) {
	defer s.contain(&err)
	return s.SessionManager.Ack(p)
}

func (s session5) contain(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("the session broke: %v", v)
		s.lost(*err)
	}
}

func (x *connector) login5(ctx context.Context, conn net.Conn, s *session) (client, error) {
	c := &client5{state: session5{SessionManager: state.NewInMemory(), lost: s.lost, closing: new(sync.Mutex)}}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn:        packets.NewThreadSafeConn(conn),
		Session:     c.state,
		AuthHandler: noAuth{},
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			s.routes.dispatch(received5(p.Packet))
			return true, nil
		}},
		OnClientError: s.lost,
		OnServerDisconnect: func(d *paho.Disconnect) {
			s.lost(fmt.Errorf("the broker hung up: %s", d.Packet().Reason()))
		},
	})
	limit, largest, expiry := uint16(receiveMaximum), uint32(maxPacket), uint32(0)
	if !x.cfg.Clean {
		expiry = forever
	}
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: x.cfg.ClientID, CleanStart: x.cfg.Clean, KeepAlive: uint16(x.cfg.Keepalive),
		Username: x.cfg.Username, UsernameFlag: x.cfg.Username != "",
		Password: []byte(x.cfg.Password), PasswordFlag: x.cfg.Password != "",
		Properties: &paho.ConnectProperties{ReceiveMaximum: &limit, MaximumPacketSize: &largest, SessionExpiryInterval: &expiry},
	})
	if err != nil {
		return nil, errors.Join(refusal5(ack, err), c.state.Close())
	}
	c.ids = ack.Properties == nil || ack.Properties.SubIDAvailable
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		c.limit = int(*ack.Properties.MaximumPacketSize)
	}
	return c, nil
}

// refusal5 says in words why a broker refused.
func refusal5(ack *paho.Connack, err error) error {
	if ack == nil || ack.ReasonCode < 0x80 {
		return err
	}
	p := packets.Connack{ReasonCode: ack.ReasonCode}
	return fmt.Errorf("the broker refused: %s", p.Reason())
}

func received5(p *paho.Publish) (mapper.Message, []int) {
	m := mapper.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if p.Properties == nil || p.Properties.SubscriptionIdentifier == nil {
		return m, nil
	}
	return m, []int{*p.Properties.SubscriptionIdentifier}
}

// publishLength returns how many bytes a message is as a PUBLISH packet without properties.
func publishLength(m mapper.Message) int {
	length := 2 + len(m.Topic) + 1 + len(m.Payload) // the topic with its length, the properties' length
	if m.QoS > 0 {
		length += 2 // packet identifier
	}
	header := 2
	for n := length; n > 0x7f; n >>= 7 {
		header++
	}
	return header + length
}

func (c *client5) publish(ctx context.Context, m mapper.Message) error {
	if n := publishLength(m); c.limit > 0 && n > c.limit {
		return spec.Errorf(spec.Invalid, "the message makes a packet of %d bytes, and the broker takes %d at most", n, c.limit)
	}
	res, err := c.Publish(ctx, &paho.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain})
	switch {
	case res != nil && res.ReasonCode >= 0x80:
		return refused(res.ReasonCode)
	case errors.Is(err, paho.ErrInvalidArguments):
		return spec.Errorf(spec.Invalid, "%w", err)
	case err != nil:
		return spec.Errorf(spec.Unavailable, "%w", err)
	}
	return nil
}

// refused turns a reason code into an error of the right kind.
func refused(code byte) error {
	p := packets.Puback{ReasonCode: code}
	switch code {
	case packets.PubackNotAuthorized:
		return spec.Errorf(spec.Forbidden, "the broker refused: not authorised")
	case packets.PubackQuotaExceeded:
		return spec.Errorf(spec.Unavailable, "the broker refused: quota exceeded")
	}
	return spec.Errorf(spec.Invalid, "the broker refused (0x%02x): %s", code, p.Reason())
}

// subscribe sends the filters in as few packets as their identifiers allow.
func (c *client5) subscribe(ctx context.Context, filters []filter) []error {
	errs := make([]error, len(filters))
	for _, batch := range batches(filters, c.ids) {
		packet := &paho.Subscribe{}
		if c.ids {
			id := filters[batch[0]].id
			packet.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &id}
		}
		for _, i := range batch {
			packet.Subscriptions = append(packet.Subscriptions, paho.SubscribeOptions{Topic: filters[i].text, QoS: filters[i].qos})
		}
		ack, err := c.Subscribe(ctx, packet)
		for at, i := range batch {
			switch {
			case ack == nil:
				errs[i] = err
			case at >= len(ack.Reasons):
				errs[i] = errors.New("the broker did not answer for this topic")
			case ack.Reasons[at] >= 0x80:
				errs[i] = fmt.Errorf("the broker refused topic %q: %s", filters[i].text, subackReason(ack.Reasons[at]))
			}
		}
	}
	return errs
}

func subackReason(code byte) string {
	p := packets.Suback{Reasons: []byte{code}}
	return p.Reason(0)
}

// batches groups the indices of filters that may share a packet.
func batches(filters []filter, ids bool) [][]int {
	var all [][]int
	var open []int
	for i, f := range filters {
		if ids && f.id != exactID {
			all = append(all, []int{i})
			continue
		}
		if open = append(open, i); len(open) == filtersAtOnce {
			all, open = append(all, open), nil
		}
	}
	if len(open) > 0 {
		all = append(all, open)
	}
	return all
}

func (c *client5) unsubscribe(ctx context.Context, filters []string) error {
	for len(filters) > 0 {
		n := min(len(filters), filtersAtOnce)
		if _, err := c.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters[:n]}); err != nil {
			return err
		}
		filters = filters[n:]
	}
	return nil
}

func (c *client5) hangUp() {
	c.Disconnect(&paho.Disconnect{}) //nolint:errcheck // the connection may be gone, and is closed next
	c.state.Close()                  //nolint:errcheck // it is in memory
}

// noAuth answers brokers that begin an enhanced authentication, which we never ask for.
type noAuth struct{}

func (noAuth) Authenticate(a *paho.Auth) *paho.Auth {
	return &paho.Auth{ReasonCode: packets.AuthContinueAuthentication, Properties: a.Properties}
}
func (noAuth) Authenticated() {}
