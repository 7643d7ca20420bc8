package credential

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/millwright/millwright/internal/spec"
)

// What HashPassword uses.
const (
	argonMemory    = 19 * 1024 // KiB
	argonPasses    = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonSumBytes  = 32
)

// What Verify accepts at most: a hash from elsewhere may ask for more work than ours, but not
// for so much that checking it is an attack.
const (
	maxMemory = 64 * 1024 // KiB
	maxPasses = 8
	maxLanes  = 4
	minSalt   = 8
	maxSalt   = 64
	minSum    = 16
	maxSum    = 64
	maxHash   = 256 // bytes of the whole text
)

const (
	argonPrefix  = "$argon2id$"
	sha256Prefix = "$sha256$"
)

// hash is one parsed hash text.
type hash interface {
	// matches compares in constant time.
	matches(secret string) bool
	// slow says whether matches takes a core for long.
	slow() bool
}

// parseHash reads what HashPassword and HashGenerated write. Its errors do not repeat the hash.
func parseHash(text string) (hash, error) {
	switch {
	case len(text) > maxHash:
		return nil, malformed("it is longer than %d bytes", maxHash)
	case strings.HasPrefix(text, argonPrefix):
		return parseArgon(strings.TrimPrefix(text, argonPrefix))
	case strings.HasPrefix(text, sha256Prefix):
		return parseSHA256(strings.TrimPrefix(text, sha256Prefix))
	}
	return nil, malformed("it begins with neither %q nor %q", argonPrefix, sha256Prefix)
}

func malformed(format string, args ...any) error {
	return spec.Errorf(spec.Internal, "cannot read the stored hash: "+format, args...)
}

// argonHash is a hash by argon2id with the parameters that made it.
type argonHash struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
	salt   []byte
	sum    []byte
}

func (h argonHash) derive(secret string, bytes int) []byte {
	return argon2.IDKey([]byte(secret), h.salt, h.passes, h.memory, h.lanes, uint32(bytes))
}

func (h argonHash) matches(secret string) bool {
	return subtle.ConstantTimeCompare(h.derive(secret, len(h.sum)), h.sum) == 1
}

func (argonHash) slow() bool { return true }

func (h argonHash) String() string {
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version, h.memory, h.passes, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.sum))
}

// parseArgon reads "v=19$m=19456,t=2,p=1$<salt>$<hash>".
func parseArgon(text string) (hash, error) {
	fields := strings.Split(text, "$")
	if len(fields) != 4 {
		return nil, malformed("argon2id needs 4 fields, not %d", len(fields))
	}
	if want := fmt.Sprintf("v=%d", argon2.Version); fields[0] != want {
		return nil, malformed("argon2id version %q is not %q", fields[0], want)
	}
	costs := strings.Split(fields[1], ",")
	if len(costs) != 3 {
		return nil, malformed("argon2id needs 3 costs, not %d", len(costs))
	}
	var h argonHash
	lanes, err := parseCost(costs[2], "p=", 1, maxLanes)
	if err != nil {
		return nil, err
	}
	h.lanes = uint8(lanes)
	if h.memory, err = parseCost(costs[0], "m=", 8*lanes, maxMemory); err != nil {
		return nil, err
	}
	if h.passes, err = parseCost(costs[1], "t=", 1, maxPasses); err != nil {
		return nil, err
	}
	if h.salt, err = parseBytes(fields[2], "salt", minSalt, maxSalt); err != nil {
		return nil, err
	}
	if h.sum, err = parseBytes(fields[3], "sum", minSum, maxSum); err != nil {
		return nil, err
	}
	return h, nil
}

func parseCost(text, prefix string, least, most uint32) (uint32, error) {
	digits, ok := strings.CutPrefix(text, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || digits != strconv.FormatUint(n, 10) {
		return 0, malformed("argon2id cost %q is not %q and a number", text, prefix)
	}
	if n < uint64(least) || n > uint64(most) {
		return 0, malformed("argon2id cost %q is not in %d to %d", text, least, most)
	}
	return uint32(n), nil
}

func parseBytes(text, what string, least, most int) ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, malformed("the %s is not base64", what)
	}
	if len(b) < least || len(b) > most {
		return nil, malformed("the %s has %d bytes, not %d to %d", what, len(b), least, most)
	}
	return b, nil
}

// sha256Hash is the digest of a generated secret.
type sha256Hash [sha256.Size]byte

func (h sha256Hash) matches(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], h[:]) == 1
}

func (sha256Hash) slow() bool { return false }

func parseSHA256(text string) (hash, error) {
	var h sha256Hash
	if len(text) != hex.EncodedLen(len(h)) || strings.ToLower(text) != text {
		return nil, malformed("SHA-256 needs %d lower-case hexadecimal digits", hex.EncodedLen(len(h)))
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		return nil, malformed("SHA-256 is not hexadecimal")
	}
	return h, nil
}
