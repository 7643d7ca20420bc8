// Command millwright-bundle packs what a plant without internet needs into one archive, and
// makes a built collection repeatable. It is a tool of the build and no part of a release.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/bundle"
)

const usage = `it is run as
  millwright-bundle pack --version V --platform OS/ARCH --out DIR NAME=PATH...
  millwright-bundle collection FILE

pack names files, and folders with all below, by their place in the bundle. collection writes
an archive of ansible-galaxy again, in place`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 1 && args[0] == "pack" {
		return pack(args[1:])
	}
	if len(args) == 2 && args[0] == "collection" {
		return repeatable(args[1])
	}
	return fmt.Errorf("cannot use %q: %s", args, usage)
}

// epoch is the time of every file: the beginning of 1980, which all archives can hold.
func epoch() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

func pack(args []string) error {
	f := flag.NewFlagSet("pack", flag.ContinueOnError)
	o := bundle.Options{Time: epoch()}
	f.StringVar(&o.Version, "version", "", "of what is packed")
	f.StringVar(&o.Platform, "platform", "", "of the program")
	out := f.String("out", "dist", "folder to write the archive to")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, given := range f.Args() {
		name, path, found := strings.Cut(given, "=")
		if !found {
			return fmt.Errorf("cannot use %q: it is NAME=PATH", given)
		}
		files, err := bundle.Tree(name, path)
		if err != nil {
			return err
		}
		o.Files = append(o.Files, files...)
	}
	file, err := atomicfile.Create(filepath.Join(*out, o.Name()+".tar.gz"))
	if err != nil {
		return err
	}
	if err := errors.Join(bundle.Write(file, o), file.Chmod(0o644)); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

func repeatable(path string) error {
	built, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var again bytes.Buffer
	if err := bundle.Collection(&again, bytes.NewReader(built), epoch()); err != nil {
		return err
	}
	return atomicfile.Write(path, again.Bytes(), 0o644)
}
