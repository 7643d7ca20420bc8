// Command millwright-runtime runs parts of an instance, each alone or together: what the
// image holds. It logs JSON on standard output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
)

// version is set by the linker.
var version = "0.0.0-dev"

// healthTimeout bounds the health check.
const healthTimeout = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code: 0 done or stopped, 1 error, 3 invalid input.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := newRootCommand(out)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(errs, "Error: %s\n", err)
	var e *spec.Error
	if errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintf(errs, "Hint: %s\n", e.Hint)
	}
	if spec.KindOf(err) == spec.Invalid {
		return 3
	}
	return 1
}

type runtimeOptions struct {
	gateway.Options
	parts             string
	adminPasswordFile string
	limits            []string
	verbose           bool
}

func newRootCommand(out io.Writer) *cobra.Command {
	opts := &runtimeOptions{}
	cmd := &cobra.Command{
		Use:           "millwright-runtime",
		Short:         "Run parts of a Millwright instance",
		Long:          "Runs broker, control and mapper, together or one in each process, until SIGTERM.\nEvery flag can be given as an environment variable: --control-url as MILLWRIGHT_CONTROL_URL.",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return readEnvironment(cmd.Flags())
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runParts(cmd.Context(), opts, out) },
	}
	opts.addFlags(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return spec.Errorf(spec.Invalid, "%w", err) })
	cmd.AddCommand(newHealthCommand())
	return cmd
}

func (o *runtimeOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.parts, "parts", "broker,control,mapper", "parts to run")
	f.StringVar(&o.DataDir, "data", "/data", "data directory; made if it does not exist")
	f.StringVar(&o.ListenHTTP, "listen-http", "127.0.0.1:8080", "address of health and, where control runs, of the API in plain; empty for none")
	f.StringVar(&o.ListenHTTPS, "listen-https", "", "address of the API over TLS")
	f.StringVar(&o.ListenHTTPRedirect, "listen-http-redirect", "", "address that redirects to the API over TLS, and serves nothing else")
	f.IntVar(&o.PublicHTTPSPort, "public-https-port", 0, "port that clients reach --listen-https at (default: its own)")
	f.StringVar(&o.ListenMQTT, "listen-mqtt", "", "address of the MQTT broker in plain")
	f.StringVar(&o.ListenMQTTS, "listen-mqtts", "", "address of the MQTT broker over TLS")
	f.StringVar(&o.ListenWS, "listen-ws", "", "address of the MQTT broker over WebSocket")
	f.StringVar(&o.ListenWSS, "listen-wss", "", "address of the MQTT broker over WebSocket and TLS")
	f.StringVar(&o.TLSCertificate, "tls-certificate", "", "PEM file with the certificate of the TLS listeners (default: the instance's own)")
	f.StringVar(&o.TLSKey, "tls-key", "", "PEM file with the certificate's key")
	f.StringSliceVar(&o.Hosts, "hostname", nil, "name or address that the instance's own certificate is valid for; may be repeated")
	f.BoolVar(&o.InsecureListen, "insecure-listen", false, "allow plain listeners on addresses that are not loopback")
	f.BoolVar(&o.ReadOnly, "read-only", false, "refuse every write to machines")
	f.StringArrayVar(&o.limits, "limit", nil, "bound of what clients can make the runtime hold, NAME=VALUE; may be repeated")
	f.StringVar(&o.adminPasswordFile, "admin-password-file", "", "file with the first admin's password (default: one is generated)")
	f.StringVar(&o.Remote.ControlURL, "control-url", "", "where control is, https://HOST[:PORT], for parts without it")
	f.StringVar(&o.Remote.Broker, "broker", "", "HOST:PORT of the broker's TLS listener, for parts without it")
	f.StringVar(&o.Remote.MQTTAddress, "mqtt-address", "", "HOST:PORT that Cybus::MqttHost and Cybus::MqttPort stand for")
	f.StringVar(&o.Remote.Agent, "agent", spec.DefaultAgent, "name of the mapper")
	f.StringVar(&o.Remote.JoinTokenFile, "join-token-file", "", "file with the token that lets this part join control's instance")
	f.StringVar(&o.Remote.JoinTokens, "join-tokens", "", "directory with the join tokens of the other parts, each in a file of the part's name, for control")
	f.Int64Var(&o.Remote.QueueBytes, "queue-bytes", 256<<20, "bound of what waits on disk while the broker is away")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
}

// readEnvironment sets each flag that was not given from its variable; a list takes one value a line.
func readEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "MILLWRIGHT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := os.Getenv(name)
		if f.Changed || value == "" || f.Name == "help" || f.Name == "version" {
			return
		}
		values := []string{value}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.Split(strings.TrimRight(value, "\n"), "\n")
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil && failed == nil {
				failed = spec.Errorf(spec.Invalid, "cannot use %s=%q: %w", name, v, err)
			}
		}
	})
	return failed
}

func runParts(ctx context.Context, opts *runtimeOptions, out io.Writer) (err error) {
	level := slog.LevelInfo
	if opts.verbose {
		level = slog.LevelDebug
	}
	opts.Log = slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
	opts.Version = version
	if opts.Parts, err = gateway.ParseParts(opts.parts); err != nil {
		return err
	}
	if opts.Limits, err = gateway.ParseLimits(opts.limits); err != nil {
		return err
	}
	g, err := gateway.New(ctx, opts.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.Bootstrap(context.WithoutCancel(ctx), opts.adminPasswordFile); err != nil {
		return err
	}
	return g.Run(ctx)
}

func newHealthCommand() *cobra.Command {
	url := "http://127.0.0.1:8080"
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the parts of this container whether they work: exit code 0 if they do",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runHealth(cmd.Context(), url) },
	}
	cmd.Flags().StringVar(&url, "url", url, "address of --listen-http")
	return cmd
}

func runHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/readyz", nil)
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot ask %q: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot ask %q: %w", url, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && response.StatusCode != http.StatusOK {
		err = spec.Errorf(spec.Unavailable, "not ready: %s", strings.TrimSpace(string(text)))
	}
	return err
}
