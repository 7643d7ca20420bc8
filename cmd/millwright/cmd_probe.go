package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper/modbus"
	"github.com/millwright/millwright/runtime/mapper/opcua"
)

type probeOptions struct {
	target  string
	login   machineLogin
	unit    int
	fc      int
	address int
	length  int
	timeout time.Duration
	output  outputOption
}

func newProbeCommand(s *streams) *cobra.Command {
	opts := &probeOptions{}
	cmd := &cobra.Command{
		Use:   "probe opc.tcp://HOST:PORT | modbus-tcp://HOST:PORT",
		Short: "Ask a machine what it offers, without an instance",
		Long: `Asks a machine directly, from this computer, and changes nothing on it.

opc.tcp://     lists security policies, certificate and limits of the server, and tries to log in.
modbus-tcp://  reads registers or bits and prints them in every type and byte order.`,
		Example: "  millwright probe opc.tcp://10.0.0.7:4840\n  millwright probe modbus-tcp://10.0.0.8:502 --fc 3 --address 0 --length 8",
		Args:    exactly("opc.tcp://HOST:PORT or modbus-tcp://HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.target = args[0]
			return runProbe(cmd.Context(), opts, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *probeOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.login.addFlags(f)
	f.IntVar(&o.unit, "unit", 1, "Modbus: unit id")
	f.IntVar(&o.fc, "fc", 3, "Modbus: function code, 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers")
	f.IntVar(&o.address, "address", 0, "Modbus: first address, counted from 0")
	f.IntVar(&o.length, "length", 4, "Modbus: how many registers or bits")
	f.DurationVar(&o.timeout, "timeout", 15*time.Second, "how long to wait")
	o.output.addFlag(f, "text", "json", "yaml")
}

func (o *probeOptions) check() error {
	return errors.Join(o.output.check(), durationInRange("--timeout", o.timeout, time.Hour),
		inRange("--unit", o.unit, 0, 255), inRange("--fc", o.fc, 1, 4),
		inRange("--address", o.address, 0, 65535), inRange("--length", o.length, 1, 2000))
}

func runProbe(ctx context.Context, opts *probeOptions, s *streams) error {
	if err := opts.check(); err != nil {
		return err
	}
	machine, err := parseMachine(opts.target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	if machine.Scheme == schemeModbus {
		report, err := modbus.Probe(ctx, machine.Host, opts.unit, opts.fc, opts.address, opts.length)
		if err != nil {
			return err
		}
		return opts.output.print(s.out, report, report.WriteText)
	}
	credentials, err := opts.login.credentials(ctx, s)
	if err != nil {
		return err
	}
	report, err := opcua.Probe(ctx, machine.String(), credentials)
	if err != nil {
		return err
	}
	if err := opts.output.print(s.out, report, report.WriteText); err != nil {
		return err
	}
	if !report.Login.OK {
		return spec.Errorf(spec.Unavailable, "the server answers, but the log-in failed: %s", report.Login.Error)
	}
	return nil
}
