package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

const policyFile = "policy.json"

// policyFormat is the version of the file; a higher one was written by a newer release.
const policyFormat = 1

// savedPolicy is the policy's last copy on disk. It holds hashes, no secret.
type savedPolicy struct {
	Format     int             `json:"format"`
	Cursor     string          `json:"cursor"`
	Revision   int64           `json:"revision"`
	SHA256     string          `json:"sha256"` // of Identities
	Identities json.RawMessage `json:"identities"`
}

// loadPolicy puts the saved policy in force. A damaged copy is logged, and the broker denies
// everything until the watch brings a new one. Only a newer release's copy is an error.
func (b *Broker) loadPolicy() error {
	path := filepath.Join(b.opts.Dir, policyFile)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return spec.Errorf(spec.Invalid, "cannot read the broker's policy: %w", err)
	}
	saved, identities, err := decodePolicy(data)
	if err != nil {
		b.log.Error("the saved policy is damaged: everything is refused until the control plane sends a new one", "file", path, "error", err)
		return nil
	}
	if saved.Format > policyFormat {
		return spec.Errorf(spec.Invalid, "cannot open %q: it has format %d, this release knows %d", path, saved.Format, policyFormat).
			WithHint("start the newer release that wrote it")
	}
	set := make(map[string]spec.Identity, len(identities))
	for _, id := range identities {
		set[id.Name] = id
	}
	b.apply(set, saved.Cursor, saved.Revision)
	return nil
}

func decodePolicy(data []byte) (savedPolicy, []spec.Identity, error) {
	var saved savedPolicy
	if err := json.Unmarshal(data, &saved); err != nil {
		return saved, nil, err
	}
	if saved.Format > policyFormat {
		return saved, nil, nil
	}
	if sum := digest(saved.Identities); sum != saved.SHA256 {
		return saved, nil, fmt.Errorf("its checksum is %s, %s is written in it", sum, saved.SHA256)
	}
	var identities []spec.Identity
	err := json.Unmarshal(saved.Identities, &identities)
	return saved, identities, err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// savePolicy writes the copy that a broker without its control plane starts from.
func (b *Broker) savePolicy(p *policy) error {
	identities := make([]spec.Identity, 0, len(p.identities))
	for _, name := range slices.Sorted(maps.Keys(p.identities)) {
		identities = append(identities, p.identities[name].Identity)
	}
	list, err := json.Marshal(identities)
	if err != nil {
		return fmt.Errorf("cannot encode the policy: %w", err)
	}
	data, err := json.Marshal(savedPolicy{
		Format: policyFormat, Cursor: p.cursor, Revision: p.revision, SHA256: digest(list), Identities: list,
	})
	if err != nil {
		return fmt.Errorf("cannot encode the policy: %w", err)
	}
	return replaceFile(filepath.Join(b.opts.Dir, policyFile), data)
}

// tempSuffix marks files that a crash may leave half written; New removes them.
const tempSuffix = ".*.tmp"

func removeLeftovers(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+tempSuffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		err = errors.Join(err, removed(name))
	}
	return err
}

// replaceFile puts data at path, mode 0600: after a crash there is the old content or the
// new, whole.
func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+tempSuffix)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot write %q: %w", path, err), removed(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes a rename in the directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
