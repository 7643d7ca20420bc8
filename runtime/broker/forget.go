package broker

import (
	"context"
	"errors"
)

// ForgetRetained removes the retained messages whose topics match the filter, as a publisher
// would: subscribers get an empty message for each. It holds nobody up: a subscriber whose
// queue is full loses its copy, counted. It fails with kind Unavailable after the broker has stopped.
func (b *Broker) ForgetRetained(filter string) error {
	var topics []string
	b.retained.match(filter, func(m *message) { topics = append(topics, m.Topic) })
	var errs []error
	for _, topic := range topics {
		m := &message{Message: Message{Topic: topic, Retain: true}}
		errs = append(errs, b.route(context.Background(), m, true))
	}
	return errors.Join(errs...)
}
