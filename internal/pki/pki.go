// Package pki is an instance's own certificate authority: ECDSA P-256, made at the first
// start, trusted by nobody but the instance's parts and clients. It signs the certificate of
// each server and of each part that runs in a process of its own. Everything here is pure but
// for randomness; who calls it keeps the files.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// The names by which parts ask for each other in the TLS handshake. They are no host names:
// a part finds another one wherever it is told to dial, and knows it by its role.
const (
	ControlName = "control.millwright.internal"
	BrokerName  = "broker.millwright.internal"
)

const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 365 * 24 * time.Hour
	// clockSlack is how far a peer's clock may be behind ours.
	clockSlack = time.Hour

	certificateType = "CERTIFICATE"
	keyType         = "PRIVATE KEY"
	requestType     = "CERTIFICATE REQUEST"
)

// Authority is a certificate authority with its key.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority that is valid for ten years. Two never have the same name,
// so that a client that knows several instances takes the right one.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial := newSerial()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Millwright"}, CommonName: "Millwright instance " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	certificate, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key}, nil
}

// LoadAuthority reads what Encode wrote.
func LoadAuthority(text []byte) (*Authority, error) {
	id, err := LoadIdentity(text)
	if err != nil {
		return nil, err
	}
	if len(id.Chain) != 1 || !id.Chain[0].IsCA {
		return nil, spec.Errorf(spec.Invalid, "cannot use the certificate authority: it is no authority's certificate")
	}
	return &Authority{id.Chain[0], id.Key}, nil
}

// Encode returns certificate and key as PEM, in one piece so that a crash cannot part them.
func (a *Authority) Encode() ([]byte, error) {
	return (&Identity{Chain: []*x509.Certificate{a.certificate}, Key: a.key}).Encode()
}

// Certificate is what clients trust.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// PEM is the certificate, without the key.
func (a *Authority) PEM() []byte { return EncodeCertificate(a.certificate) }

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool { return Pool(a.certificate) }

// Subject is whom a certificate is for.
type Subject struct {
	Name   string   // the common name: a part's name
	Hosts  []string // DNS names and IP addresses that it serves; none: it is a client only
	Client bool     // it may prove who it is to a server
}

// Issue signs a certificate, valid for a year, for the holder of a public key.
func (a *Authority) Issue(public *ecdsa.PublicKey, s Subject, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: s.Name},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              earlier(now.Add(certificateLife), a.certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	template.DNSNames, template.IPAddresses = hosts(s.Hosts)
	if len(s.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if s.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return sign(template, a.certificate, public, a.key)
}

// RenewAt is when a certificate should be renewed: with a third of its life left.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// Pool holds one certificate.
func Pool(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}

// Fingerprint is "SHA256:" and the hex digest of the certificate's DER form.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

// KeyDigest names a certificate's public key; a renewed certificate has the same.
func KeyDigest(c *x509.Certificate) string { return digest(c.RawSubjectPublicKeyInfo) }

func digest(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// NewKey makes a private key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func sign(template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot sign a certificate for %q: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] = b[0]&0x3f | 0x40 // positive, and always of 16 bytes
	return new(big.Int).SetBytes(b)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// EncodeCertificate returns a certificate as PEM.
func EncodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: c.Raw})
}

// ParseCertificate reads the one certificate of a PEM text.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != certificateType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, spec.Errorf(spec.Invalid, "cannot read the certificate: it is not one certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the certificate: %w", err)
	}
	return c, nil
}
