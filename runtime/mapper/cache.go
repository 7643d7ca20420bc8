package mapper

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/spec"
)

// cacheMagic begins the file: the format and its version. Behind it: nonce, sealed JSON.
const cacheMagic = "MWDESIRED1"

// cache is the desired state's last copy on disk, sealed with AES-GCM because resolved
// resources hold secrets.
type cache struct {
	path  string
	agent string // sealed along, so that no other agent's copy is taken for ours
	seal  cipher.AEAD
}

// cacheContent is the sealed JSON.
type cacheContent struct {
	Cursor    string          `json:"cursor"`
	Revision  int64           `json:"revision"`
	Resources []spec.Resource `json:"resources"`
}

func openCache(dir, agent string, key []byte) (*cache, error) {
	if len(key) != 32 {
		return nil, spec.Errorf(spec.Internal, "cannot encrypt the mapper's copy of the desired state: its key has %d bytes, not 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot make the mapper's directory %q: %w", dir, err)
	}
	if err := atomicfile.RemoveLeftovers(dir); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot tidy the mapper's directory: %w", err)
	}
	return &cache{path: filepath.Join(dir, "desired.bin"), agent: agent, seal: seal}, nil
}

// load returns the copy, or the empty state when there is none that can be used; then the
// watch begins with a snapshot.
func (c *cache) load(log *slog.Logger) desired {
	sealed, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return desired{}
	}
	if err == nil {
		var d desired
		if d, err = c.open(sealed); err == nil {
			return d
		}
	}
	log.Warn("cannot use the copy of the desired state, a new one is asked for", "file", c.path, "error", err)
	return desired{}
}

func (c *cache) open(sealed []byte) (desired, error) {
	head := len(cacheMagic) + c.seal.NonceSize()
	if len(sealed) < head || string(sealed[:len(cacheMagic)]) != cacheMagic {
		return desired{}, errors.New("it is not in this version's format")
	}
	plain, err := c.seal.Open(nil, sealed[len(cacheMagic):head], sealed[head:], []byte(cacheMagic+c.agent))
	if err != nil {
		return desired{}, errors.New("it is damaged, or of another key or agent")
	}
	var content cacheContent
	if err := json.Unmarshal(plain, &content); err != nil {
		return desired{}, err
	}
	d := desired{cursor: content.Cursor, revision: content.Revision, resources: map[string]spec.Resource{}}
	for _, r := range content.Resources {
		d.resources[r.Key()] = r
	}
	return d, nil
}

// save replaces the copy; a crash leaves the old or the new one.
func (c *cache) save(d desired) error {
	content := cacheContent{Cursor: d.cursor, Revision: d.revision, Resources: make([]spec.Resource, 0, len(d.resources))}
	for _, key := range sortedKeys(d.resources) {
		content.Resources = append(content.Resources, d.resources[key])
	}
	plain, err := json.Marshal(content)
	if err != nil {
		return err
	}
	nonce := make([]byte, c.seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	sealed := append([]byte(cacheMagic), nonce...)
	return atomicfile.Write(c.path, c.seal.Seal(sealed, nonce, plain, []byte(cacheMagic+c.agent)), 0o600)
}
