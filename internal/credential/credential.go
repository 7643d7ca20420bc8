// Package credential hashes and verifies passwords and generated secrets. People's passwords
// are argon2id (19 MiB, 2 passes, 1 lane); secrets of 256 bits that we generate are SHA-256.
package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/millwright/millwright/internal/spec"
)

// MaxSecret is the longest password or secret in bytes; a longer one belongs to nobody.
const MaxSecret = 1024

// HashPassword returns "$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>" (base64 without padding).
// It takes a core for about 30 ms. A password that is empty or longer than MaxSecret is an
// error of kind spec.Invalid.
func HashPassword(password string) (string, error) {
	switch {
	case password == "":
		return "", spec.Errorf(spec.Invalid, "cannot use an empty password")
	case len(password) > MaxSecret:
		return "", spec.Errorf(spec.Invalid, "cannot use a password of %d bytes: at most %d", len(password), MaxSecret)
	}
	h := argonHash{memory: argonMemory, passes: argonPasses, lanes: argonLanes, salt: make([]byte, argonSaltBytes)}
	rand.Read(h.salt) // never fails (crypto/rand, since Go 1.24)
	h.sum = h.derive(password, argonSumBytes)
	return h.String(), nil
}

// HashGenerated returns "$sha256$<hex>" for a secret made by Generate. It must not be used for
// what people choose: it costs a guesser next to nothing.
func HashGenerated(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return sha256Prefix + hex.EncodeToString(sum[:])
}

// Generate returns a new secret of 256 random bits, printable: prefix + base64url.
func Generate(prefix string) string {
	var b [32]byte
	rand.Read(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}
