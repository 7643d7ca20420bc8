package broker

import (
	"context"
	"errors"
	"time"

	"github.com/millwright/millwright/internal/journal"
)

// forgetPatience bounds how long a policy waits for the disk to have forgotten what it says.
const forgetPatience = 5 * time.Second

// forgetHomes removes the retained messages of the homes, and returns when that is on disk. A disk that
// takes nothing holds no policy up for long.
func (b *Broker) forgetHomes(ctx context.Context, homes []string) error {
	ctx, cancel := context.WithTimeout(ctx, forgetPatience)
	defer cancel()
	var errs []error
	for _, home := range homes {
		at, err := b.forgetRetained(home)
		if err == nil && !b.onDisk(at) {
			err = b.journal.Await(ctx, at)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forgetRetained removes the retained messages whose topics match the filter, as a publisher
// would: subscribers get an empty message for each. It holds nobody up: a subscriber whose
// queue is full loses its copy, counted. It returns up to where the journal must be on disk
// for that to last, and fails with kind Unavailable after the broker has stopped.
func (b *Broker) forgetRetained(filter string) (last journal.Position, err error) {
	var errs []error
	for _, old := range b.retained.match(filter, b.retained.mark()) {
		m := &message{Message: Message{Topic: old.Topic, Retain: true}}
		at, err := b.route(context.Background(), m, lossy)
		last, errs = max(last, at), append(errs, err)
	}
	return last, errors.Join(errs...)
}
