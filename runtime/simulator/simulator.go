// Package simulator is a small plant with changing values: an OPC UA server and a Modbus TCP
// device with several units, seeded, for the demo, tests and benchmarks. It is told to
// misbehave through a fault-injecting front of each device, so that both misbehave alike.
// docs/reference/simulator.md lists what the devices hold.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/millwright/millwright/internal/spec"
)

// Options of a plant. An empty address leaves that device out.
type Options struct {
	OPCUA  string // listen address, "127.0.0.1:0" for any port
	Modbus string
	Seed   int64
	Log    *slog.Logger
	// OPCUAVariables and ModbusRegisters add that many further changing values, for benchmarks.
	OPCUAVariables  int
	ModbusRegisters int
}

// Misbehaviour of a device.
type Misbehaviour string

// The misbehaviours; empty is good behaviour.
const (
	Refuse Misbehaviour = "refuse" // new connections are reset; open ones go on
	Hang   Misbehaviour = "hang"   // connections stay open, nothing is answered
	Cut    Misbehaviour = "cut"    // open connections are reset and new ones too
	Late   Misbehaviour = "late"   // answers arrive 3 s late
)

// device is a running server behind a front.
type device interface {
	Addr() string
	Close() error
}

// Plant is a running simulator.
type Plant struct {
	fronts  map[string]*front
	devices []device
	unwatch func() bool

	once sync.Once
	err  error
}

// Start opens the devices. They run until ctx ends or Close.
func Start(ctx context.Context, opts Options) (*Plant, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plant{fronts: map[string]*front{}}
	if err := p.open(ctx, opts); err != nil {
		return nil, errors.Join(err, p.shutdown())
	}
	p.unwatch = context.AfterFunc(ctx, func() {
		if err := p.shutdown(); err != nil {
			opts.Log.Warn("cannot end the simulator cleanly", "error", err)
		}
	})
	return p, nil
}

func (p *Plant) open(ctx context.Context, opts Options) error {
	if opts.Modbus != "" {
		d, err := startModbus(opts)
		if err != nil {
			return fmt.Errorf("cannot start the Modbus device: %w", err)
		}
		if err := p.add(opts.Modbus, "modbus", d, opts.Log); err != nil {
			return err
		}
	}
	if opts.OPCUA != "" {
		d, err := startOPCUA(ctx, "127.0.0.1:0", opts)
		if err != nil {
			return fmt.Errorf("cannot start the OPC UA device: %w", err)
		}
		if err := p.add(opts.OPCUA, "opcua", d, opts.Log); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plant) add(addr, name string, d device, log *slog.Logger) error {
	p.devices = append(p.devices, d)
	f, err := newFront(addr, name, d.Addr(), log)
	if err != nil {
		return err
	}
	p.fronts[name] = f
	return nil
}

// OPCUA returns the address that was bound, host:port, empty without that device.
func (p *Plant) OPCUA() string { return p.addr("opcua") }

// Modbus returns the address that was bound, host:port, empty without that device.
func (p *Plant) Modbus() string { return p.addr("modbus") }

func (p *Plant) addr(name string) string {
	if f := p.fronts[name]; f != nil {
		return f.Addr()
	}
	return ""
}

// Misbehave switches a device ("opcua", "modbus") from now on.
func (p *Plant) Misbehave(device string, m Misbehaviour) error {
	f := p.fronts[device]
	if f == nil {
		return spec.Errorf(spec.NotFound, "cannot find a simulated device %q: name opcua or modbus, whichever runs", device)
	}
	switch m {
	case "", Refuse, Hang, Cut, Late:
		f.set(m)
		return nil
	}
	return spec.Errorf(spec.Invalid, "cannot misbehave as %q: choose refuse, hang, cut or late, or nothing", m)
}

// Close ends the devices and waits for them.
func (p *Plant) Close() error {
	p.unwatch()
	return p.shutdown()
}

func (p *Plant) shutdown() error {
	p.once.Do(func() {
		var errs []error
		for _, f := range p.fronts {
			errs = append(errs, f.Close())
		}
		for _, d := range p.devices {
			errs = append(errs, d.Close())
		}
		p.err = errors.Join(errs...)
	})
	return p.err
}
