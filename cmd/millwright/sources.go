package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// maxFile bounds one file that is read.
const maxFile = 16 << 20

// sources reads what a request is made of and remembers it, so that a plan file can tell
// whether it is still the same.
type sources struct {
	streams *streams
	names   []string // in the order in which they were read
	sums    map[string]string
}

func newSources(s *streams) *sources { return &sources{streams: s, sums: map[string]string{}} }

// file reads a file; "-" is standard input.
func (r *sources) file(ctx context.Context, path string) ([]byte, error) {
	if path == "-" {
		text, err := waitFor(ctx, func() (string, error) { return readAll(r.streams.in, "standard input", maxFile) })
		r.saw("-", []byte(text))
		return []byte(text), err
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	r.saw("file "+filepath.ToSlash(path), text)
	return text, nil
}

// variable reads an environment variable.
func (r *sources) variable(name string) string {
	value := r.streams.getenv(name)
	r.saw("variable "+name, []byte(value))
	return value
}

func (r *sources) saw(name string, content []byte) {
	sum := sha256.Sum256(content)
	r.note(name, sum[:])
}

func (r *sources) note(name string, sum []byte) {
	if _, ok := r.sums[name]; !ok {
		r.names = append(r.names, name)
	}
	r.sums[name] = hex.EncodeToString(sum)
}

// archive fingerprints a file that is too large to be held.
func (r *sources) archive(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return unreadable(path, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return unreadable(path, err)
	}
	r.note("file "+filepath.ToSlash(path), sum.Sum(nil))
	return nil
}

// fingerprint recognises a source. Its hash costs a guesser of a password in it as much as
// the hash of the password itself.
type fingerprint struct {
	Source string `json:"source"`
	Hash   string `json:"hash"`
}

func (r *sources) fingerprints() ([]fingerprint, error) {
	list := make([]fingerprint, 0, len(r.names))
	for _, name := range r.names {
		hash, err := credential.HashPassword(r.sums[name])
		if err != nil {
			return nil, err
		}
		list = append(list, fingerprint{name, hash})
	}
	return list, nil
}

// unchanged refuses sources that are not those of the fingerprints.
func (r *sources) unchanged(ctx context.Context, list []fingerprint) error {
	verifier := credential.NewVerifier()
	known := make(map[string]bool, len(list))
	for _, f := range list {
		known[f.Source] = true
		same, err := verifier.Verify(ctx, f.Hash, r.sums[f.Source])
		if err != nil {
			return err
		}
		if !same {
			return changedSince(f.Source)
		}
	}
	for _, name := range r.names {
		if !known[name] {
			return changedSince(name)
		}
	}
	return nil
}

func changedSince(source string) error {
	return spec.Errorf(spec.Conflict, "cannot apply the plan: %s is not what it was when the plan was made", source).
		WithHint("make a new plan and have it reviewed")
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > maxFile {
		return nil, spec.Errorf(spec.Invalid, "cannot read %q: it has more than %d bytes", path, maxFile)
	}
	return text, nil
}

// unreadable keeps the reason alone as the cause: the path is said already.
func unreadable(path string, err error) *spec.Error {
	var reason *fs.PathError
	if errors.As(err, &reason) {
		err = reason.Err
	}
	return spec.Errorf(spec.Invalid, "cannot read %q: %w", path, err)
}

// mustNotExist keeps a file that a person may have edited from being overwritten.
func mustNotExist(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return spec.Errorf(spec.Invalid, "cannot write %q: it exists already", path).
			WithHint("move it away, or choose another name")
	}
	return nil
}
