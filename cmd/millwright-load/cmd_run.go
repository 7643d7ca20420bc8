package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/loadgen"
)

// serverOptions say which server to load.
type serverOptions struct {
	address  string
	protocol string
	user     string
	password string
	caPath   string
	pid      int
	output   string
}

func (o *serverOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.address, "address", "127.0.0.1:1883", "`host:port` of the server")
	f.StringVar(&o.protocol, "protocol", string(loadgen.MQTT311), "mqtt3, mqtt5 or nats")
	f.StringVar(&o.user, "user", "", "log in as this user")
	f.StringVar(&o.password, "password-file", "", "`file` with the user's password")
	f.StringVar(&o.caPath, "ca-path", "", "use TLS and trust the certificates of this `file`")
	f.IntVar(&o.pid, "pid", 0, "the server's process, to report its CPU and memory")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
}

func (o *serverOptions) server() (loadgen.Server, error) {
	s := loadgen.Server{Protocol: loadgen.Protocol(o.protocol), Address: o.address, User: o.user}
	if o.password != "" {
		raw, err := os.ReadFile(o.password)
		if err != nil {
			return s, fmt.Errorf("cannot read the password: %w", err)
		}
		s.Password = trimLine(string(raw))
	}
	if o.caPath == "" {
		return s, nil
	}
	raw, err := os.ReadFile(o.caPath)
	if err != nil {
		return s, fmt.Errorf("cannot read the certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return s, fmt.Errorf("cannot trust %q: it holds no certificate", o.caPath)
	}
	s.TLS = &tls.Config{RootCAs: pool, ServerName: hostOf(o.address), MinVersion: tls.VersionTLS12}
	return s, nil
}

// runOptions are one scenario.
type runOptions struct {
	serverOptions
	scenario loadgen.Scenario
	qos      uint8
	profile  string
}

func newRunCommand() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Load a server with one scenario",
		Long: `Load a server with one scenario and say what became of each message. With --rate each
message has its time, and latencies count from it, whether or not the server kept up. Exits
with 1 where the server broke a promise: lost what it had acknowledged, or delivered it out
of order or twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRun(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	o.serverOptions.addFlags(f)
	s := &o.scenario
	f.IntVar(&s.Publishers, "publishers", 1, "how many publish")
	f.IntVar(&s.Subscribers, "subscribers", 1, "how many subscribe")
	f.BoolVar(&s.Pairs, "pairs", false, "subscriber i gets what publisher i sends, not everything")
	f.IntVar(&s.Topics, "topics", 1, "topics of each publisher")
	f.BoolVar(&s.Wildcard, "wildcard", false, "subscribe with one filter for everything")
	f.IntVar(&s.Size, "size", 64, "bytes of payload")
	f.Uint8Var(&o.qos, "qos", 0, "0, 1 or 2")
	f.BoolVar(&s.Persistent, "persistent", false, "sessions outlive their connections")
	f.IntVar(&s.Window, "window", 100, "unacknowledged messages of one publisher")
	f.Float64Var(&s.Rate, "rate", 0, "messages a second over all publishers; 0: as fast as it goes")
	f.IntVar(&s.Count, "count", 0, "messages of each publisher; 0: until --duration has passed")
	f.DurationVar(&s.Warmup, "warmup", time.Second, "not measured, before the rest")
	f.DurationVar(&s.Duration, "duration", 5*time.Second, "measured time")
	f.StringVar(&o.profile, "profile", "", "write the generator's own CPU profile to this `file`")
}

func runRun(ctx context.Context, o *runOptions, out io.Writer) (err error) {
	if o.scenario.Server, err = o.server(); err != nil {
		return err
	}
	o.scenario.QoS, o.scenario.PID = o.qos, o.pid
	if o.scenario.Count > 0 {
		o.scenario.Warmup = 0
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return fmt.Errorf("cannot write the profile: %w", err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(fmt.Errorf("cannot profile: %w", err), f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	result, err := loadgen.Run(ctx, o.scenario)
	if err != nil {
		return err
	}
	if err := show(out, o.output, result, result.Print); err != nil {
		return err
	}
	if broken := result.Broken(); len(broken) > 0 {
		return fmt.Errorf("the server broke its promise: %s", broken[0])
	}
	return nil
}

// show prints a result as the user wants it.
func show(out io.Writer, format string, value any, text func(io.Writer)) error {
	switch format {
	case "text":
		text(out)
		return nil
	case "json":
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	return fmt.Errorf("cannot print as %q: give text or json", format)
}
