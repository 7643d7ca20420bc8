package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the release build: -ldflags "-X main.version=1.2.3".
var version = "0.0.0-dev"

type versionOptions struct{ output outputOption }

// versionInfo is the JSON form of `millwright version`.
type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(s *streams) *cobra.Command {
	opts := &versionOptions{}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  exactly(),
		RunE:  func(*cobra.Command, []string) error { return runVersion(opts, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *versionOptions) addFlags(cmd *cobra.Command) {
	o.output.addFlag(cmd.Flags(), "text", "json", "yaml")
}

func runVersion(opts *versionOptions, s *streams) error {
	if err := opts.output.check(); err != nil {
		return err
	}
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	return opts.output.print(s.out, v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "millwright %s (%s, %s)\n", v.Version, v.Go, v.Platform)
		return err
	})
}
