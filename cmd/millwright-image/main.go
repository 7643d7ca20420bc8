// Command millwright-image writes the runtime's container image as an archive, without an
// engine or a network. It is a tool of the build and no part of a release.
package main

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/image"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// maxImage is what an image may weigh, unpacked.
const maxImage = 40 << 20

func main() {
	if err := run(os.Args[1:], os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run writes the archive that the arguments ask for.
func run(args []string, getenv func(string) string) error {
	flag := flag.NewFlagSet("millwright-image", flag.ContinueOnError)
	program := flag.String("program", "", "the static runtime, for linux")
	arch := flag.String("arch", "amd64", "amd64 or arm64")
	version := flag.String("version", "", "of the runtime: the image's tag")
	revision := flag.String("revision", "", "commit that it was built from")
	roots := flag.String("roots", "/etc/ssl/certs/ca-certificates.crt", "certificate authorities, PEM")
	out := flag.String("out", "", "archive to write, compressed by gzip")
	if err := flag.Parse(args); err != nil {
		return err
	}
	if *arch != "amd64" && *arch != "arm64" {
		return fmt.Errorf("cannot write an image for %q: arch is amd64 or arm64", *arch)
	}

	binary, err := os.ReadFile(*program)
	if err != nil {
		return err
	}
	authorities, err := os.ReadFile(*roots)
	if err != nil {
		return fmt.Errorf("cannot read the certificate authorities (Debian: apt-get install ca-certificates): %w", err)
	}
	if size := len(binary) + len(authorities); size > maxImage {
		return fmt.Errorf("the image would have %d bytes, and may have %d", size, maxImage)
	}
	created, err := buildTime(getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	settled, err := (spec.Instance{}).Over(nil, spec.InstanceDefaults{Version: *version})
	if err != nil {
		return err
	}
	return write(*out, image.Options{
		Tag: settled.ImageReference(), Arch: *arch, Program: binary, Roots: authorities, Created: created,
		Labels:     labels(*version, *revision, created),
		Entrypoint: render.Program, UserID: render.UserID, Owned: []string{render.DataDir, render.SecretsDir},
	})
}

// labels are those of the OCI image specification, and the format of the data.
func labels(version, revision string, created time.Time) map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       "Millwright",
		prefix + "description": "The shop floor as code: broker, mapper and control of one instance",
		prefix + "version":     version,
		prefix + "revision":    revision,
		prefix + "created":     created.UTC().Format(time.RFC3339),
		prefix + "source":      "https://github.com/millwright/millwright",
		prefix + "licenses":    "Apache-2.0",
		render.LabelDataFormat: render.DataFormat,
	}
}

// buildTime is SOURCE_DATE_EPOCH, so that equal sources give equal images.
func buildTime(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot use SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0), nil
}

func write(path string, o image.Options) error {
	file, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	packed := gzip.NewWriter(file)
	if err := errors.Join(image.Write(packed, o), packed.Close(), file.Chmod(0o644)); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}
