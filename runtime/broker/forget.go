package broker

import (
	"context"
	"errors"
)

// ForgetRetained removes the retained messages whose topics match the filter, as a publisher
// would: subscribers get an empty message for each. It holds nobody up: a subscriber whose
// queue is full loses its copy, counted. It fails with kind Unavailable after the broker has stopped.
func (b *Broker) ForgetRetained(filter string) error {
	var errs []error
	for _, old := range b.retained.match(filter, b.retained.mark()) {
		m := &message{Message: Message{Topic: old.Topic, Retain: true}}
		_, err := b.route(context.Background(), m, lossy)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
