package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/gateway"
)

const (
	contextUp       = "local" // the context that up writes
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
and an admin with a generated password, and writes the context file, so that the other
commands just work. Everything that was installed runs again by itself after a restart.

Exit codes: 0 stopped by Ctrl-C, 1 a part failed, 3 a flag, port or data directory cannot be used.`,
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
	g, err := gateway.New(ctx, opts.Options)
	if err != nil {
		return err
	}
	defer func() { err = joinErrors(err, g.Close()) }()
	starting := context.WithoutCancel(ctx) // Ctrl-C takes effect once the start is whole
	passwordFile, err := bootstrap(starting, g, opts)
	if err != nil {
		return err
	}
	contextFile, err := ensureContext(starting, g)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "API      %s\nMQTT     %s\nData     %s\nContext  %s (%s)\n", g.URL(), g.MQTTAddress(), opts.DataDir, contextUp, contextFile)
	if passwordFile != "" {
		fmt.Fprintf(out, "Admin    user %q, password in %s\n", adminUser, passwordFile)
	}
	if opts.ReadOnly {
		fmt.Fprintln(out, "Writes   refused: --read-only")
	}
	return g.Run(ctx)
}

// bootstrap makes the first admin. A generated password goes to a file beside the context
// file, never to the output; its path is returned.
func bootstrap(ctx context.Context, g *gateway.Gateway, opts *upOptions) (passwordFile string, err error) {
	if g.Control().HasUsers() {
		return "", nil
	}
	if opts.adminPasswordFile != "" {
		password, err := os.ReadFile(opts.adminPasswordFile)
		if err != nil {
			return "", spec.Errorf(spec.Invalid, "cannot read the admin's password: %w", err)
		}
		_, err = g.Control().Bootstrap(ctx, strings.TrimRight(string(password), "\r\n"))
		return opts.adminPasswordFile, err
	}
	contextFile, err := client.ContextPath(os.Getenv)
	if err != nil {
		return "", err
	}
	passwordFile = adminPasswordFile(contextFile, contextUp)
	password := credential.Generate("")
	if err := os.MkdirAll(filepath.Dir(passwordFile), 0o700); err != nil {
		return "", fmt.Errorf("cannot keep the admin's password: %w", err)
	}
	if err := os.Remove(passwordFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot replace the former admin's password: %w", err)
	}
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep the admin's password: %w", err)
	}
	_, err = g.Control().Bootstrap(ctx, password)
	return passwordFile, err
}

// adminPasswordFile lies beside the context file.
func adminPasswordFile(contextFile, contextName string) string {
	return filepath.Join(filepath.Dir(contextFile), contextName+".admin-password")
}

// ensureContext writes the context "local", unless the one that is there still works.
func ensureContext(ctx context.Context, g *gateway.Gateway) (file string, err error) {
	if file, err = client.ContextPath(os.Getenv); err != nil {
		return "", err
	}
	contexts, _, err := client.LoadContexts(file) // SaveContext mends the mode that the warning is about
	if err != nil {
		return "", err
	}
	if c, ok := contexts.Contexts[contextUp]; ok && c.URL == g.URL() && g.Control().TokenValid(ctx, c.Token) {
		return file, nil
	}
	token, err := g.Control().IssueToken(ctx, adminUser, "context "+contextUp, contextTokenTTL)
	if err != nil {
		return "", err
	}
	return file, client.SaveContext(contextUp, client.Context{URL: g.URL(), Token: token.Token}, true)
}
