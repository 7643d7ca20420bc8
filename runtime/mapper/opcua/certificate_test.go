package opcua

import (
	"crypto/tls"
	"sync"
)

// testCertificate is this gateway's, made once for all tests.
var testCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	cert, key, err := NewClientCertificate("gateway.test")
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
})
