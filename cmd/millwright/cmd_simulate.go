package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/simulator"
)

type simulateOptions struct {
	simulator.Options
	misbehave string
	control   bool
}

func newSimulateCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &simulateOptions{}
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated OPC UA server and Modbus device",
		Long: `Runs devices with changing values until Ctrl-C, and prints their addresses. They can be told to
misbehave: refuse new connections, hang, cut connections, or answer late. With --control,
lines of standard input do that while they run: "misbehave modbus cut", "misbehave modbus none".`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Log = s.logger(global, levelWarn)
			return runSimulate(cmd.Context(), opts, s)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

// maxSimulated bounds the further values of one device: Modbus addresses end there.
const maxSimulated = 60_000

func (o *simulateOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.OPCUA, "opcua", "127.0.0.1:4840", "`address` of the OPC UA server; empty: none; port 0: any")
	f.StringVar(&o.Modbus, "modbus", "127.0.0.1:5020", "`address` of the Modbus TCP device; empty: none; port 0: any")
	f.Int64Var(&o.Seed, "seed", 1, "same `number`, same values")
	f.StringVar(&o.misbehave, "misbehave", "none", "what both devices do from the start: none, refuse, hang, cut, late")
	f.BoolVar(&o.control, "control", false, "take commands from standard input")
	f.IntVar(&o.OPCUAVariables, "opcua-variables", 0, "this many further variables that change")
	f.IntVar(&o.ModbusRegisters, "modbus-registers", 0, "this many further registers that change")
}

func (o *simulateOptions) check() error {
	if o.OPCUA == "" && o.Modbus == "" {
		return spec.Errorf(spec.Invalid, "cannot simulate nothing: give --opcua or --modbus an address")
	}
	_, err := misbehaviour(o.misbehave)
	return errors.Join(err,
		checkAddress("--opcua", o.OPCUA), checkAddress("--modbus", o.Modbus),
		inRange("--opcua-variables", o.OPCUAVariables, 0, maxSimulated),
		inRange("--modbus-registers", o.ModbusRegisters, 0, maxSimulated))
}

// checkAddress refuses what cannot be listened on; empty is no device.
func checkAddress(flag, address string) error {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot listen on %s %q", flag, address).
			WithHint("it looks like 127.0.0.1:5020, with a port up to 65535")
	}
	return nil
}

// misbehaviour reads a word of the command line or of standard input.
func misbehaviour(word string) (simulator.Misbehaviour, error) {
	if word == "none" {
		return "", nil
	}
	m := simulator.Misbehaviour(word)
	return m, oneOf("--misbehave", word, "none",
		string(simulator.Refuse), string(simulator.Hang), string(simulator.Cut), string(simulator.Late))
}

func runSimulate(ctx context.Context, opts *simulateOptions, s *streams) (err error) {
	if err := opts.check(); err != nil {
		return err
	}
	// The OPC UA server's library talks to the standard logger, of every client that comes and goes: what
	// this command prints is its own alone. The writer is the process's, so it is given back at the end.
	before := log.Writer()
	log.SetOutput(io.Discard)
	defer log.SetOutput(before)
	plant, err := simulator.Start(ctx, opts.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plant.Close()) }()
	devices := [][2]string{}
	if address := plant.OPCUA(); address != "" {
		devices = append(devices, [2]string{"opcua", "opc.tcp://" + address})
	}
	if address := plant.Modbus(); address != "" {
		devices = append(devices, [2]string{"modbus", "modbus-tcp://" + address})
	}
	for _, d := range devices {
		if err := misbehave(plant, d[0], opts.misbehave); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(s.out, "%s %s\n", d[0], d[1]); err != nil {
			return err
		}
	}
	if opts.control {
		obey(ctx, plant, s)
	}
	<-ctx.Done()
	return nil
}

func misbehave(plant *simulator.Plant, device, word string) error {
	m, err := misbehaviour(word)
	if err != nil {
		return err
	}
	return plant.Misbehave(device, m)
}

// obey carries out the commands of standard input until it or ctx ends.
func obey(ctx context.Context, plant *simulator.Plant, s *streams) {
	lines := readLines(ctx, s.in)
	for {
		select {
		case <-ctx.Done():
			return
		case line, open := <-lines:
			if !open {
				return
			}
			if err := command(plant, line); err != nil {
				s.note("millwright: %s\n", err)
			}
		}
	}
}

func command(plant *simulator.Plant, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	if len(words) != 3 || words[0] != "misbehave" {
		return spec.Errorf(spec.Invalid, "cannot understand %q: say \"misbehave modbus cut\"", line)
	}
	return misbehave(plant, words[1], words[2])
}

// readLines sends the lines of r until it ends or ctx does. A read that waits for input
// cannot be called off: it ends with the process, which has no more to do by then.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
