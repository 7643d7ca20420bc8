package pki

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// Proof shows that who knows the hash of a join token has this authority. The nonce is random
// and of the one who asks, so that no proof can be used twice.
func Proof(tokenHash, nonce string, authority *x509.Certificate) string {
	mac := hmac.New(sha256.New, []byte(tokenHash))
	mac.Write([]byte("millwright join\x00" + nonce + "\x00"))
	mac.Write(authority.Raw)
	return hex.EncodeToString(mac.Sum(nil))
}
