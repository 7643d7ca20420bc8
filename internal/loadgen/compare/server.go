package compare

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/loadgen"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

// User is the one identity of a broker under load. It may publish and subscribe everywhere,
// and is authorised for each message as any other.
const User = "load"

// Serve runs our broker until ctx ends. The listener opens when the broker holds what dir
// has kept, as in the gateway.
func Serve(ctx context.Context, dir, address, password string, limits broker.Limits, log *slog.Logger) error {
	b, err := newBroker(dir, password, limits, log)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen on %q: %w", address, err)
	}
	return b.Run(ctx, l)
}

func newBroker(dir, password string, limits broker.Limits, log *slog.Logger) (*broker.Broker, error) {
	return broker.New(broker.Options{
		Dir: dir, Watch: onePolicy{}, Log: log, Limits: limits,
		Login: func(_ context.Context, a credential.Attempt, hashes []string) (string, error) {
			if len(hashes) == 1 && subtle.ConstantTimeCompare([]byte(a.Secret), []byte(password)) == 1 {
				return hashes[0], nil
			}
			return "", nil
		},
	})
}

// onePolicy is a watch on a policy that never changes: User may do everything.
type onePolicy struct{}

// Watch implements spec.Watch.
func (onePolicy) Watch(ctx context.Context, _ string, handle func(spec.Event[spec.Identity]) error) error {
	for _, e := range []spec.Event[spec.Identity]{
		{Type: spec.EventSnapshot},
		{Type: spec.EventPut, Key: User, Value: spec.Identity{
			Name: User, Credentials: []string{User},
			Permissions: []spec.Permission{{Resource: "#", Operation: spec.ReadWrite, Context: spec.MQTT}},
		}},
		{Type: spec.EventSynced, Cursor: "load-1", Revision: 1},
	} {
		if err := handle(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// Limits are the broker's, wide enough for every load of the comparison.
func Limits() broker.Limits {
	return broker.Limits{
		Connections: 20_000, Sessions: 20_000,
		QueueMessages: 2_000_000, QueueBytes: 1 << 30, TotalQueueBytes: 2 << 30,
	}
}

// server is how the generator reaches a broker on this machine.
func server(p loadgen.Protocol, address, password string) loadgen.Server {
	s := loadgen.Server{Protocol: p, Address: address}
	if password != "" {
		s.User, s.Password = User, password
	}
	return s
}
