package gateway

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
)

// The format of the data directory that this build writes. It opens every minor of its own
// major and refuses a higher major; within a major, stores only gain what the previous
// release ignores and keeps.
const (
	formatMajor = 1
	formatMinor = 0
)

// The files that a first start makes before all others.
const (
	lockName   = "LOCK"
	formatName = "format.json"
)

// keyBytes is the length of secrets.key: AES-256.
const keyBytes = 32

type formatFile struct {
	Major     int    `json:"major"`
	Minor     int    `json:"minor"`
	WrittenBy string `json:"written_by"`
}

// dataDir is an opened and locked data directory: format.json, LOCK, secrets.key,
// control.db, broker/, mapper/<agent>/, pki/, and the file with the first admin's password
// that the CLI keeps there.
type dataDir struct {
	path string
	key  []byte
	lock *os.File
}

// openDataDir makes the directory on first use, takes its lock and reads its key. A second
// process, a newer major and a directory that cannot be written are refused, each with one line.
func openDataDir(path, version string) (*dataDir, error) {
	if err := refuseForeign(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot make data directory %q: %w", path, err).
			WithHint("choose another with --data")
	}
	lock, err := takeLock(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.open(version); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Exists reports whether path is a data directory: one that a start has got so far as to mark.
func Exists(path string) bool {
	_, err := os.Stat(filepath.Join(path, formatName))
	return err == nil
}

// refuseForeign keeps a directory that holds something else from being filled. What a first
// start leaves that was cut short, and what a new file system holds, does not count.
func refuseForeign(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil || Exists(path) {
		return nil // what cannot be read is refused when it is opened
	}
	for _, e := range entries {
		if name := e.Name(); !expectedAtStart(name) {
			return spec.Errorf(spec.Invalid, "cannot use %q as the data directory: it has no %s and holds other things, such as %q", path, formatName, name).
				WithHint("name an empty or new directory with --data")
		}
	}
	return nil
}

func expectedAtStart(name string) bool {
	return name == lockName || name == "lost+found" || strings.HasPrefix(name, formatName) && atomicfile.IsLeftover(name)
}

func (d *dataDir) open(version string) error {
	if err := d.checkFormat(version); err != nil {
		return err
	}
	for _, sub := range []string{"broker", "mapper", "pki"} {
		if err := os.MkdirAll(d.file(sub), 0o700); err != nil {
			return fmt.Errorf("cannot make %s in data directory %q: %w", sub, d.path, err)
		}
	}
	if err := errors.Join(atomicfile.RemoveLeftovers(d.path), atomicfile.RemoveLeftovers(d.file("pki"))); err != nil {
		return fmt.Errorf("cannot tidy data directory %q: %w", d.path, err)
	}
	key, err := d.readOrMake("secrets.key", func() ([]byte, error) {
		key := make([]byte, keyBytes)
		_, err := rand.Read(key)
		return key, err
	})
	if err != nil {
		return err
	}
	if len(key) != keyBytes {
		return spec.Errorf(spec.Invalid, "cannot use %q: it holds %d bytes, not %d", d.file("secrets.key"), len(key), keyBytes).
			WithHint("restore it from a backup; without it the stored secrets cannot be read")
	}
	d.key = key
	return nil
}

func (d *dataDir) checkFormat(version string) error {
	mine := formatFile{Major: formatMajor, Minor: formatMinor, WrittenBy: version}
	text, err := d.readOrMake(formatName, func() ([]byte, error) { return json.Marshal(mine) })
	if err != nil {
		return err
	}
	var found formatFile
	if err := json.Unmarshal(text, &found); err != nil {
		return spec.Errorf(spec.Invalid, "cannot read %q: %w", d.file(formatName), err).
			WithHint("restore the data directory from a backup, or choose another with --data")
	}
	if found.Major != formatMajor {
		return spec.Errorf(spec.Invalid, "cannot open data directory %q: it has format %d.%d, written by %s, and this is %s with format %d",
			d.path, found.Major, found.Minor, found.WrittenBy, version, formatMajor).
			WithHint("run the version that wrote it, or a newer one; nothing was changed")
	}
	return nil
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// readOrMake returns the file's content; where there is none it writes what fresh returns, mode 0600.
func (d *dataDir) readOrMake(name string, fresh func() ([]byte, error)) ([]byte, error) {
	content, err := os.ReadFile(d.file(name))
	if err == nil {
		return content, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read from the data directory: %w", err)
	}
	if content, err = fresh(); err != nil {
		return nil, fmt.Errorf("cannot make %q: %w", d.file(name), err)
	}
	if err := atomicfile.Write(d.file(name), content, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write to the data directory: %w", err)
	}
	return content, nil
}

// Close releases the lock.
func (d *dataDir) Close() error { return d.lock.Close() }
