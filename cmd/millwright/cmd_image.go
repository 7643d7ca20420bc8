package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/spec"
)

// engineOptions say which Docker engine a command speaks to.
type engineOptions struct{ host string }

func (o *engineOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.host, "docker-host", "", "`address` of the Docker engine (default: DOCKER_HOST, else the system's)")
}

// open connects to the engine; close it.
func (o *engineOptions) open(ctx context.Context, s *streams, log *slog.Logger) (*engine.Engine, error) {
	return engine.Open(ctx, engine.Options{Host: o.host, Getenv: s.getenv, Log: log})
}

func newImageCommand(s *streams, global *globalOptions) *cobra.Command {
	return group("image", "Carry the runtime's image to an engine without a registry",
		newImageSaveCommand(s, global), newImageLoadCommand(s, global))
}

type imageSaveOptions struct {
	engine engineOptions
	image  string
}

func newImageSaveCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &imageSaveOptions{}
	cmd := &cobra.Command{
		Use:     "save FILE",
		Short:   "Write an image that the engine has into an archive",
		Long:    "Writes an image that the Docker engine has into FILE, an archive that 'image load',\n'docker load' and the instance's option image_archive take. FILE \"-\" is standard output.",
		Example: "  millwright image save millwright.tar\n  millwright image save --image registry.example/millwright:1.2.3 - | gzip > millwright.tar.gz",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImageSave(cmd.Context(), opts, args[0], global, s)
		},
	}
	opts.engine.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&opts.image, "image", "", "`name` of the image (default: the one of this version)")
	return cmd
}

func runImageSave(ctx context.Context, opts *imageSaveOptions, file string, global *globalOptions, s *streams) error {
	e, err := opts.engine.open(ctx, s, s.logger(global, levelWarn))
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // nothing is left to be done on it
	image := opts.image
	if image == "" {
		defaults, err := (spec.Instance{}).Over(nil, spec.InstanceDefaults{Version: version})
		if err != nil {
			return err
		}
		image = defaults.ImageReference()
	}
	if file == "-" {
		return e.SaveImage(ctx, image, s.out)
	}
	archive, err := atomicfile.Create(file)
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot write %q: %w", file, err)
	}
	if err := e.SaveImage(ctx, image, archive); err != nil {
		if abort := archive.Abort(); abort != nil {
			s.note("cannot remove what was written of %s: %v\n", file, abort)
		}
		return err
	}
	if err := archive.Commit(); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot write %q: %w", file, err)
	}
	return nil
}

type imageLoadOptions struct{ engine engineOptions }

func newImageLoadCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &imageLoadOptions{}
	cmd := &cobra.Command{
		Use:     "load FILE",
		Short:   "Give the engine the images of an archive",
		Long:    "Gives the Docker engine the images in FILE, an archive as 'image save' or 'docker save'\nwrites it, plain or compressed by gzip. A broken archive, and one for\nanother architecture, is refused before that.",
		Example: "  millwright image load millwright.tar.gz",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImageLoad(cmd.Context(), opts, args[0], global, s)
		},
	}
	opts.engine.addFlags(cmd.Flags())
	return cmd
}

func runImageLoad(ctx context.Context, opts *imageLoadOptions, file string, global *globalOptions, s *streams) error {
	if _, err := os.Stat(file); err != nil {
		return spec.Errorf(spec.Invalid, "cannot read the image archive %q: %w", file, err)
	}
	e, err := opts.engine.open(ctx, s, s.logger(global, levelWarn))
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // nothing is left to be done on it
	images, err := e.LoadImage(ctx, file)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, strings.Join(images, "\n")+"\n")
	return err
}
