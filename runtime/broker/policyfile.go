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

	"github.com/millwright/millwright/internal/atomicfile"
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
	return atomicfile.Write(filepath.Join(b.opts.Dir, policyFile), data, 0o600)
}
