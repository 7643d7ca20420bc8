package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"net"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Identity is a key with its certificate, and what else belongs beside them.
type Identity struct {
	Key *ecdsa.PrivateKey
	// Chain holds the key's own certificate first; then those that a peer trusts, or none.
	Chain []*x509.Certificate
}

// LoadIdentity reads what Encode wrote.
func LoadIdentity(text []byte) (*Identity, error) {
	id := &Identity{}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, spec.Errorf(spec.Invalid, "cannot read the certificate and its key: there is something else than PEM")
			}
			break
		}
		if err := id.take(block); err != nil {
			return nil, err
		}
	}
	if id.Key == nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the certificate and its key: there is no key")
	}
	if len(id.Chain) > 0 && !id.Key.PublicKey.Equal(id.Chain[0].PublicKey) {
		return nil, spec.Errorf(spec.Invalid, "cannot read the certificate and its key: they do not belong together")
	}
	return id, nil
}

func (id *Identity) take(block *pem.Block) error {
	var err error
	switch block.Type {
	case certificateType:
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			id.Chain = append(id.Chain, c)
		}
	case keyType:
		var key any
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			var ok bool
			if id.Key, ok = key.(*ecdsa.PrivateKey); !ok {
				return spec.Errorf(spec.Invalid, "cannot read the key: it is of another kind than ECDSA")
			}
		}
	}
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot read a %s: %w", strings.ToLower(block.Type), err)
	}
	return nil
}

// Encode returns the certificates and the key as PEM, in one piece.
func (id *Identity) Encode() ([]byte, error) {
	var text []byte
	for _, c := range id.Chain {
		text = append(text, EncodeCertificate(c)...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.Key)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write a key: %w", err)
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: key})...), nil
}

// TLS is the key's own certificate as package tls takes it.
func (id *Identity) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{id.Chain[0].Raw}, PrivateKey: id.Key, Leaf: id.Chain[0]}
}

// Secret is derived from the private key: 256 bits, printable, for peers that cannot check a
// certificate. It tells nothing of the key, and lasts as long as it.
func (id *Identity) Secret() (string, error) {
	key, err := x509.MarshalPKCS8PrivateKey(id.Key)
	if err != nil {
		return "", spec.Errorf(spec.Internal, "cannot derive a secret: %w", err)
	}
	sum := sha256.Sum256(append([]byte("millwright mqtt secret\x00"), key...))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Request asks an authority for a certificate; it proves that its sender holds the key.
func (id *Identity) Request(s Subject) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: s.Name}}
	template.DNSNames, template.IPAddresses = hosts(s.Hosts)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, id.Key)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot make a certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: requestType, Bytes: der}), nil
}

// Request is a checked certificate request.
type Request struct {
	Public    *ecdsa.PublicKey
	KeyDigest string // as KeyDigest has it
	Name      string
	Hosts     []string
}

// ParseRequest reads a request and checks that its sender holds the key.
func ParseRequest(text []byte) (Request, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != requestType {
		return Request{}, spec.Errorf(spec.Invalid, "cannot read the certificate request: it is none in PEM")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return Request{}, spec.Errorf(spec.Invalid, "cannot read the certificate request: %w", err)
	}
	public, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return Request{}, spec.Errorf(spec.Invalid, "cannot take the certificate request: its key is of another kind than ECDSA")
	}
	parsed := Request{Public: public, KeyDigest: digest(r.RawSubjectPublicKeyInfo), Name: r.Subject.CommonName, Hosts: r.DNSNames}
	for _, ip := range r.IPAddresses {
		parsed.Hosts = append(parsed.Hosts, ip.String())
	}
	return parsed, nil
}

// hosts tells IP addresses from names, each once.
func hosts(all []string) (names []string, ips []net.IP) {
	seen := map[string]bool{}
	for _, host := range all {
		if ip := net.ParseIP(host); ip != nil {
			host = ip.String()
			if !seen[host] {
				ips = append(ips, ip)
			}
		} else if host != "" && !seen[host] {
			names = append(names, host)
		}
		seen[host] = true
	}
	return names, ips
}

// Serves reports whether the certificate is valid for every one of the hosts.
func Serves(c *x509.Certificate, all []string) bool {
	names, ips := hosts(all)
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(c.DNSNames, name) }) &&
		!slices.ContainsFunc(ips, func(ip net.IP) bool {
			return !slices.ContainsFunc(c.IPAddresses, ip.Equal)
		})
}
