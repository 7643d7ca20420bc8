package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
)

// tick is the plant's clock: how often an OPC UA value can change.
const tick = 100 * time.Millisecond

// opcuaDevice is the plant's OPC UA server. It takes anybody, without security: it belongs
// in a process of its own, on an address that only its operator reaches.
type opcuaDevice struct {
	server *server.Server
	gate   *gate
	subs   *subscriptions
	cancel context.CancelFunc
	ticker sync.WaitGroup
}

// startOPCUA runs the server on addr (port 0: any) until Close. The end of ctx is not its end.
func startOPCUA(ctx context.Context, addr string, opts Options) (*opcuaDevice, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot find a port for the OPC UA server: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &opcuaDevice{cancel: cancel}
	d.server = server.New(
		server.EndPoint(loopback, port),
		server.EnableSecurity("None", ua.MessageSecurityModeNone),
		server.EnableAuthMode(ua.UserTokenTypeAnonymous),
		server.ServerName("Millwright simulator"),
		server.ManufacturerName("Millwright"),
		server.ProductName("Millwright simulator"),
	)
	d.subs = newSubscriptions(ctx, d.server)
	press := newPress(opts, d.subs.changed)
	d.server.AddNamespace(newSpace("urn:millwright:simulator:server", nil))
	d.server.AddNamespace(press.space)
	if err := d.listen(ctx, addr, port, press.space, opts.Log); err != nil {
		cancel()
		return nil, err
	}
	d.ticker.Go(func() { press.run(ctx) })
	return d, nil
}

func (d *opcuaDevice) listen(ctx context.Context, addr string, port int, s *space, log *slog.Logger) error {
	if err := d.publishAddressSpace(s); err != nil {
		return err
	}
	services{server: d.server, space: s, subs: d.subs}.register()
	if err := d.server.Start(ctx); err != nil {
		return fmt.Errorf("cannot start the OPC UA server: %w", err)
	}
	var err error
	d.gate, err = newGate(ctx, addr, net.JoinHostPort(loopback, strconv.Itoa(port)), log)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot listen on %q: %w", addr, err), d.server.Close())
	}
	return nil
}

// Addr returns the address that was bound, host:port.
func (d *opcuaDevice) Addr() string { return d.gate.listener.Addr().String() }

// Close cuts all clients and frees the address.
func (d *opcuaDevice) Close() error {
	err := errors.Join(d.gate.close(), d.server.Close())
	d.cancel()
	d.ticker.Wait()
	d.subs.close()
	if err != nil {
		return fmt.Errorf("cannot stop the OPC UA server: %w", err)
	}
	return nil
}

// publishAddressSpace lists the plant's objects below the server's Objects folder and states
// the limits that the library's server would announce too low.
func (d *opcuaDevice) publishAddressSpace(s *space) error {
	base, err := d.server.Namespace(0)
	if err != nil {
		return fmt.Errorf("cannot reach the server's own nodes: %w", err)
	}
	for _, object := range s.roots {
		base.Objects().AddRef(object.described(), server.RefTypeIDOrganizes, true)
	}
	for id, limit := range map[uint32]uint32{
		11705: 1000, // MaxNodesPerRead
		11707: 1000, // MaxNodesPerWrite
		11714: 1000, // MaxMonitoredItemsPerCall
	} {
		base.AddNode(server.NewNode(ua.NewNumericNodeID(0, id), server.Attributes{
			ua.AttributeIDNodeClass: server.DataValueFromValue(uint32(ua.NodeClassVariable)),
		}, nil, func() *ua.DataValue { return server.DataValueFromValue(limit) }))
	}
	return nil
}

const loopback = "127.0.0.1"

// freePort finds a port for the library's server, which does not tell where it listens.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
