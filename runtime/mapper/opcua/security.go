package opcua

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // OPC UA names certificates by it; nothing is secured by it
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"

	"github.com/millwright/millwright/internal/spec"
)

const policyPrefix = "http://opcfoundation.org/UA/SecurityPolicy#"

// security is what protects a channel.
type security struct {
	policy string // URI
	mode   ua.MessageSecurityMode
	client clientIdentity
	server []byte // the certificate that the server announced, DER
}

// clientIdentity is the certificate that stands for this gateway at the server.
type clientIdentity struct {
	chain []byte // DER, leaf first
	leaf  *x509.Certificate
	key   *rsa.PrivateKey
}

func unsecured() security {
	return security{policy: ua.SecurityPolicyURINone, mode: ua.MessageSecurityModeNone}
}

// asymmetric are the keys of an OpenSecureChannel.
func (s security) asymmetric() (keys, error) {
	if s.mode == ua.MessageSecurityModeNone {
		algo, err := uapolicy.Asymmetric(ua.SecurityPolicyURINone, nil, nil)
		return keys{algo: algo}, err
	}
	remote, err := rsaKey(s.server)
	if err != nil {
		return keys{}, err
	}
	algo, err := uapolicy.Asymmetric(s.policy, s.client.key, remote)
	if err != nil {
		return keys{}, fmt.Errorf("cannot use the certificates with %s: %w", policyName(s.policy), err)
	}
	return keys{algo: algo, sign: true, encrypt: true, asym: true}, nil
}

// certificateChain is nil without security: some servers check it all the same.
func (s security) certificateChain() []byte {
	if s.mode == ua.MessageSecurityModeNone {
		return nil
	}
	return s.client.chain
}

func (s security) serverThumbprint() []byte {
	if s.mode == ua.MessageSecurityModeNone {
		return nil
	}
	return uapolicy.Thumbprint(s.server)
}

// sign signs data with the client's key, as CreateSession's and ActivateSession's signatures are.
func (s security) sign(data []byte) (*ua.SignatureData, error) {
	if s.mode == ua.MessageSecurityModeNone {
		return &ua.SignatureData{}, nil
	}
	k, err := s.asymmetric()
	if err != nil {
		return nil, err
	}
	signature, err := k.algo.Signature(data)
	if err != nil {
		return nil, fmt.Errorf("cannot sign with the client certificate's key: %w", err)
	}
	return &ua.SignatureData{Algorithm: k.algo.SignatureURI(), Signature: signature}, nil
}

// verify checks that the server holds its certificate's key.
func (s security) verify(data []byte, signature *ua.SignatureData) error {
	if s.mode == ua.MessageSecurityModeNone {
		return nil
	}
	k, err := s.asymmetric()
	if err != nil {
		return err
	}
	if signature == nil || k.algo.VerifySignature(data, signature.Signature) != nil {
		return errors.New("the server cannot prove that its certificate is its own")
	}
	return nil
}

func policyName(uri string) string { return strings.TrimPrefix(uri, policyPrefix) }

func modeName(m ua.MessageSecurityMode) string {
	return strings.TrimPrefix(m.String(), "MessageSecurityMode")
}

// fingerprint is a certificate's SHA-256, as most tools print it.
func fingerprint(cert []byte) string { return colons(sha256Of(leafOf(cert))) }

// thumbprint is a certificate's SHA-1, by which OPC UA servers name the files of their trust lists.
func thumbprint(cert []byte) string {
	sum := sha1.Sum(leafOf(cert)) //nolint:gosec // see the import
	return fmt.Sprintf("%X", sum[:])
}

func sha256Of(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// leafOf returns the first certificate of a chain; a server may send either.
func leafOf(chain []byte) []byte {
	certs, err := x509.ParseCertificates(chain)
	if err != nil || len(certs) == 0 {
		return chain
	}
	return certs[0].Raw
}

func sameLeaf(a, b []byte) bool { return bytes.Equal(leafOf(a), leafOf(b)) }

// certificates reads PEM, or base64 of DER as existing files have it.
func certificates(text string) ([]*x509.Certificate, error) {
	var der []byte
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			der = append(der, block.Bytes...)
		}
	}
	if der == nil {
		var err error
		if der, err = unbase64(text); err != nil {
			return nil, errors.New("it is neither PEM nor base64")
		}
	}
	certs, err := x509.ParseCertificates(der)
	if err == nil && len(certs) == 0 {
		err = errors.New("it holds no certificate")
	}
	return certs, err
}

func unbase64(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
}

// privateKey reads PEM, or base64 of DER, of PKCS #1 or PKCS #8.
func privateKey(text string) (*rsa.PrivateKey, error) {
	var der []byte
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der = block.Bytes
	} else {
		var err error
		if der, err = unbase64(text); err != nil {
			return nil, errors.New("it is neither PEM nor base64")
		}
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is no unencrypted private key of PKCS #1 or PKCS #8")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is no RSA key, and OPC UA needs one")
	}
	return key, nil
}

// givenIdentity is the client certificate that a connection brings itself.
func givenIdentity(cert, key string) (clientIdentity, error) {
	chain, err := certificates(cert)
	if err != nil {
		return clientIdentity{}, spec.Errorf(spec.Invalid, "cannot read clientCert: %w", err)
	}
	private, err := privateKey(key)
	if err != nil {
		return clientIdentity{}, spec.Errorf(spec.Invalid, "cannot read clientPrivateKey: %w", err)
	}
	if public, ok := chain[0].PublicKey.(*rsa.PublicKey); !ok || !public.Equal(private.Public()) {
		return clientIdentity{}, spec.Errorf(spec.Invalid, "cannot use clientPrivateKey: it does not belong to clientCert")
	}
	identity := clientIdentity{leaf: chain[0], key: private}
	for _, c := range chain {
		identity.chain = append(identity.chain, c.Raw...)
	}
	return identity, nil
}

// gatewayIdentity is the data directory's own certificate.
func gatewayIdentity(cert tls.Certificate) (clientIdentity, error) {
	key, ok := cert.PrivateKey.(*rsa.PrivateKey)
	if !ok || len(cert.Certificate) == 0 {
		return clientIdentity{}, spec.Errorf(spec.Internal, "cannot use the data directory's OPC UA certificate: it has no RSA key")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return clientIdentity{}, spec.Errorf(spec.Internal, "cannot parse the data directory's OPC UA certificate: %w", err)
	}
	return clientIdentity{chain: bytes.Join(cert.Certificate, nil), leaf: leaf, key: key}, nil
}

// applicationURI is the name that the certificate gives this gateway; servers compare the two.
func (c clientIdentity) applicationURI() string {
	if c.leaf != nil && len(c.leaf.URIs) > 0 {
		return c.leaf.URIs[0].String()
	}
	return defaultApplicationURI
}

const defaultApplicationURI = "urn:millwright:gateway"

// trust says which servers a secured link may talk to.
type trust struct {
	all   bool
	given []*x509.Certificate // server certificates, or authorities that signed them
}

// check refuses a server whose certificate is neither given nor signed by a given one. Names and
// dates are not checked against a certificate that is given itself: it was chosen by hand.
func (t trust) check(server []byte) error {
	chain, err := x509.ParseCertificates(server)
	if err != nil || len(chain) == 0 {
		return spec.Errorf(spec.Unavailable, "cannot parse the server's certificate: %w", errors.Join(err, errors.New("a secured link needs one")))
	}
	if t.all {
		return nil
	}
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range t.given {
		if c.Equal(chain[0]) {
			return nil
		}
		pool.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err == nil {
		return nil
	}
	reason := "caCert is not set"
	if len(t.given) > 0 {
		reason = fmt.Sprintf("it is not what caCert holds or signed (%v)", err)
	}
	return spec.Errorf(spec.Unavailable, "cannot trust the server's certificate %q with the SHA-256 fingerprint %s: %s; "+
		"compare the fingerprint with the machine's own, then give the certificate as caCert (`millwright probe` prints it), or set trustAllCertificates: true",
		chain[0].Subject.String(), fingerprint(server), reason)
}
