package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/runtime/gateway"
)

const (
	contextUp       = "local" // the context that up writes, as long as no other instance has it
	contextTokenTTL = 90 * 24 * time.Hour
	adminUser       = "admin"
)

type upOptions struct {
	gateway.Options
	adminPasswordFile string
	limits            []string
}

func newUpCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &upOptions{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run broker, mapper and control in this process",
		Long: `Runs the whole gateway in this process until Ctrl-C. The first start makes the data directory
and an admin, whose generated password it keeps in the file admin-password there, and writes the
context file, so that the other commands just work. Everything that was installed runs again by
itself after a restart. At the API's address a browser finds a page with services, states and
values.

MQTT also goes over TLS, WebSocket (any path) and both, where an address is given. Plain listeners
stay on loopback unless --insecure-listen is set. The first start makes an authority and a
certificate for those over TLS, unless --tls-certificate names another; clients trust what
"get authority" prints.

Exit codes: 0 stopped by Ctrl-C; 1 another process has the port or the data directory, or a part
failed; 3 a flag or the data directory cannot be used.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Log = s.logger(global, slog.LevelInfo)
			return runUp(cmd.Context(), opts, s.out)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *upOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data", defaultDataDir(), "data directory; made if it does not exist")
	f.StringVar(&o.ListenHTTP, "listen-http", "127.0.0.1:8080", "address of the API")
	f.StringVar(&o.ListenMQTT, "listen-mqtt", "127.0.0.1:1883", "address of the MQTT broker")
	f.StringVar(&o.ListenHTTPS, "listen-https", "", "address of the API over TLS")
	f.StringVar(&o.ListenHTTPRedirect, "listen-http-redirect", "", "address that redirects to the API over TLS, and serves nothing else")
	f.StringVar(&o.ListenMQTTS, "listen-mqtts", "", "address of the MQTT broker over TLS")
	f.StringVar(&o.ListenWS, "listen-ws", "", "address of the MQTT broker over WebSocket")
	f.StringVar(&o.ListenWSS, "listen-wss", "", "address of the MQTT broker over WebSocket and TLS")
	f.StringVar(&o.TLSCertificate, "tls-certificate", "", "PEM file with the certificate of the TLS listeners, and those between it and its CA; read again when it changes")
	f.StringVar(&o.TLSKey, "tls-key", "", "PEM file with the certificate's key")
	f.StringSliceVar(&o.Hosts, "hostname", nil, "name or address that the instance's own certificate is valid for, beside this host's name; may be repeated")
	f.StringVar(&o.adminPasswordFile, "admin-password-file", "", "file with the first admin's password (default: one is generated)")
	f.BoolVar(&o.ReadOnly, "read-only", false, "refuse every write to machines")
	f.StringArrayVar(&o.limits, "limit", nil, "bound of what clients can make the runtime hold, NAME=VALUE; may be repeated (docs/reference/limits.md)")
	f.BoolVar(&o.InsecureListen, "insecure-listen", false, "allow plain listeners on addresses that are not loopback")
}

func defaultDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "millwright")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "millwright-data"
	}
	return filepath.Join(home, ".local", "share", "millwright")
}

func runUp(ctx context.Context, opts *upOptions, out io.Writer) (err error) {
	opts.Version = version
	if opts.Limits, err = gateway.ParseLimits(opts.limits); err != nil {
		return err
	}
	chosen, err := opts.chosenPassword()
	if err != nil {
		return err
	}
	g, err := gateway.New(ctx, opts.Options)
	if err != nil {
		return err
	}
	defer func() { err = joinErrors(err, g.Close()) }()
	starting := context.WithoutCancel(ctx) // Ctrl-C takes effect once the start is whole
	passwordFile, err := bootstrap(starting, g, opts, chosen)
	if err != nil {
		return err
	}
	contextLine, err := ensureContext(starting, g, opts.Log)
	if err != nil { // the plant must not stand still for want of a file that only commands need
		contextLine = fmt.Sprintf("not written, use `millwright login --url %s`: %v", g.URL(), err)
	}
	fmt.Fprintf(out, "API      %s\nMQTT     %s\n", g.URL(), g.MQTTAddress())
	for _, l := range g.Listeners() {
		fmt.Fprintf(out, "%-8s %s\n", l.Name, l.URL)
	}
	fmt.Fprintf(out, "Data     %s\nContext  %s\n", opts.DataDir, contextLine)
	if passwordFile != "" {
		fmt.Fprintf(out, "Admin    user %q, password in %s\n", adminUser, passwordFile)
	}
	if opts.ReadOnly {
		fmt.Fprintln(out, "Writes   refused: --read-only")
	}
	return g.Run(ctx)
}
