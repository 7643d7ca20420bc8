package gateway

import (
	"context"

	"github.com/millwright/millwright/runtime/broker"
	"github.com/millwright/millwright/runtime/control"
	"github.com/millwright/millwright/runtime/mapper"
)

// localBus is the mapper's way to the broker of the same process: a call.
type localBus struct {
	broker *broker.Broker
}

var _ mapper.Bus = localBus{}

func (b localBus) Publish(ctx context.Context, as string, m mapper.Message) error {
	return b.broker.Publish(ctx, as, broker.Message(m))
}

func (b localBus) Subscribe(ctx context.Context, as, filter string, qos byte, deliver func(mapper.Message)) (func(), error) {
	return b.broker.Subscribe(ctx, as, filter, qos, func(m broker.Message) { deliver(mapper.Message(m)) })
}

// messages is the API's way to read the broker; control has checked who may read what.
type messages struct {
	gateway *Gateway // its broker is made after control
}

var _ control.MessageSource = messages{}

func (m messages) Subscribe(ctx context.Context, filter string, deliver func(control.Message)) (func(), error) {
	if m.gateway.broker == nil {
		return m.gateway.bus.Subscribe(ctx, control.MessagesIdentity, filter, 0, func(msg mapper.Message) { deliver(control.Message(msg)) })
	}
	return m.gateway.broker.Subscribe(ctx, control.MessagesIdentity, filter, 0, func(msg broker.Message) { deliver(control.Message(msg)) })
}
