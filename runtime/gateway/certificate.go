package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"os"
	"sync"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper/opcua"
)

// clientCertificateFile holds the OPC UA application instance certificate and its key in one
// file, so that a crash cannot part them.
const clientCertificateFile = "pki/opcua-client.pem"

// clientCertificate is the data directory's one OPC UA application instance certificate,
// made on first use and kept.
type clientCertificate struct {
	load func() (tls.Certificate, error)
}

func newClientCertificate(dir *dataDir) *clientCertificate {
	return &clientCertificate{load: sync.OnceValues(func() (tls.Certificate, error) { return loadClientCertificate(dir) })}
}

func loadClientCertificate(dir *dataDir) (tls.Certificate, error) {
	text, err := dir.readOrMake(clientCertificateFile, func() ([]byte, error) {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		cert, key, err := opcua.NewClientCertificate(host)
		return append(cert, key...), err
	})
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return tls.Certificate{}, spec.Errorf(spec.Invalid, "cannot use the OPC UA client certificate %q: %w", dir.file(clientCertificateFile), err).
			WithHint("restore it from a backup; or remove it: a new one is made, which every server must trust anew")
	}
	return pair, nil
}

// view is the body of GET /api/v1/certificate: what a machine must trust, without the key.
func (c *clientCertificate) view() (spec.CertificateView, error) {
	pair, err := c.load()
	if err != nil {
		return spec.CertificateView{}, err
	}
	leaf := pair.Leaf
	sum := sha256.Sum256(leaf.Raw)
	v := spec.CertificateView{
		PEM:         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
		Fingerprint: "SHA256:" + hex.EncodeToString(sum[:]),
		NotAfter:    leaf.NotAfter,
	}
	if len(leaf.URIs) > 0 {
		v.ApplicationURI = leaf.URIs[0].String()
	}
	return v, nil
}
