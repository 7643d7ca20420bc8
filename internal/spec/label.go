package spec

import "unicode"

// MaxLabel bounds the label of a secret, in bytes.
const MaxLabel = 128

// CheckLabel refuses what cannot be the label of a secret. Whoever writes a secret may lay a
// label beside it, any text that names this version of the secret and tells nothing of it. It is
// kept and read back, and cleared when the secret is written without one: so who cannot read
// the secret sees whether it is still theirs.
func CheckLabel(option, label string) error {
	if len(label) > MaxLabel {
		return Errorf(Invalid, "cannot use a %s of %d bytes: at most %d", option, len(label), MaxLabel)
	}
	for _, r := range label {
		if !unicode.IsPrint(r) {
			return Errorf(Invalid, "cannot use %s %q: it has characters that do not print", option, label)
		}
	}
	return nil
}
