package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/loadgen/compare"
)

// serveOptions are those of our broker under load.
type serveOptions struct {
	data   string
	listen string
	pprof  string
}

func newServeCommand() *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run our broker alone, for one user who may do everything",
		Long: `Run our broker alone, as the gateway runs it. It knows one user, "` + compare.User + `", whose password is
in the environment variable ` + compare.PasswordVariable + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServe(cmd.Context(), o, cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *serveOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.data, "data", "", "the broker's `directory`")
	f.StringVar(&o.listen, "listen", "127.0.0.1:1883", "`host:port` to listen on")
	f.StringVar(&o.pprof, "pprof", "", "serve Go's profiles over HTTP on this `host:port`")
}

func runServe(ctx context.Context, o *serveOptions, log io.Writer) error {
	password := os.Getenv(compare.PasswordVariable)
	if password == "" || o.data == "" {
		return fmt.Errorf("cannot serve without --data and without a password in %s", compare.PasswordVariable)
	}
	if o.pprof != "" {
		stop, err := serveProfiles(ctx, o.pprof, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return compare.Serve(ctx, o.data, o.listen, password, compare.Limits(), logger)
}

// serveProfiles serves Go's profiles until stop is called.
func serveProfiles(ctx context.Context, address string, log io.Writer) (stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot serve profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(log, "profiles:", err)
		}
	}()
	return func() {
		if err := s.Close(); err != nil {
			fmt.Fprintln(log, "profiles:", err)
		}
		<-done
	}, nil
}
