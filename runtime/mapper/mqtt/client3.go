package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// writeTimeout is how long the library may take to put a packet on its way.
const writeTimeout = 10 * time.Second

// client3 speaks MQTT 3.1.1, which the library for MQTT 5 does not.
type client3 struct {
	paho3.Client
	lost <-chan struct{}
}

func (x *connector) login3(ctx context.Context, conn net.Conn, s *session) (client, error) {
	opts := paho3.NewClientOptions().
		SetProtocolVersion(4).
		SetClientID(x.cfg.ClientID).SetUsername(x.cfg.Username).SetPassword(x.cfg.Password).
		SetCleanSession(x.cfg.Clean).SetKeepAlive(time.Duration(x.cfg.Keepalive) * time.Second).
		SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectTimeout(time.Minute). // ctx ends it before
		SetWriteTimeout(writeTimeout).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) {
			s.routes.dispatch(mapper.Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()}, nil)
		}).
		SetConnectionLostHandler(func(_ paho3.Client, err error) { s.lost(err) }).
		SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) { return conn, nil })
	opts.AddBroker("tcp://" + x.target.Host)
	c := &client3{paho3.NewClient(opts), s.done}
	if _, err := c.do(ctx, c.Connect); err != nil {
		return nil, err
	}
	return c, nil
}

// do starts a request and waits for its end, for ctx or for the session's end. The library's own calls
// block for up to the write time-out when the connection is just being lost.
func (c *client3) do(ctx context.Context, start func() paho3.Token) (paho3.Token, error) {
	done := make(chan paho3.Token, 1)
	go func() {
		t := start()
		select {
		case <-t.Done():
		case <-ctx.Done():
		case <-c.lost:
		}
		done <- t
	}()
	select {
	case t := <-done:
		select {
		case <-t.Done():
			return t, t.Error()
		default:
		}
	case <-ctx.Done():
	case <-c.lost:
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, errClosed
}

func (c *client3) publish(ctx context.Context, m mapper.Message) error {
	if _, err := c.do(ctx, func() paho3.Token { return c.Publish(m.Topic, m.QoS, m.Retain, m.Payload) }); err != nil {
		return spec.Errorf(spec.Unavailable, "%w", err)
	}
	return nil
}

func (c *client3) subscribe(ctx context.Context, filters []filter) []error {
	errs := make([]error, len(filters))
	for _, batch := range batches(filters, false) {
		wanted := map[string]byte{}
		for _, i := range batch {
			wanted[filters[i].text] = max(wanted[filters[i].text], filters[i].qos)
		}
		t, err := c.do(ctx, func() paho3.Token { return c.SubscribeMultiple(wanted, nil) })
		granted := map[string]byte{}
		if sub, ok := t.(*paho3.SubscribeToken); ok && err == nil {
			granted = sub.Result()
		}
		for _, i := range batch {
			code, answered := granted[filters[i].text]
			switch {
			case err != nil:
				errs[i] = err
			case !answered:
				errs[i] = errors.New("the broker did not answer for this topic")
			case code > 2:
				errs[i] = fmt.Errorf("the broker refused topic %q", filters[i].text)
			}
		}
	}
	return errs
}

func (c *client3) unsubscribe(ctx context.Context, filters []string) error {
	_, err := c.do(ctx, func() paho3.Token { return c.Unsubscribe(filters...) })
	return err
}

func (c *client3) hangUp() { c.Disconnect(uint(goodbye / time.Millisecond)) }
