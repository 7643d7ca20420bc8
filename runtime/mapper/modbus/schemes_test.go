package modbus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// TestUDP reads over UDP from a responder that answers each question after a stray datagram.
func TestUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 300)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if n == 12 {
				q := question{b[:2], b[6], b[7], int(binary.BigEndian.Uint16(b[8:])), int(binary.BigEndian.Uint16(b[10:]))}
				stray := q.registers(1)
				stray[0] ^= 0x80
				_, _ = conn.WriteTo(stray, from)          // a lost reply shows in the test
				_, _ = conn.WriteTo(q.registers(5), from) // a lost reply shows in the test
			}
		}
	}()
	c := connect(t, conn.LocalAddr().String(), map[string]any{"scheme": "udp"})
	s := dial(t, c)
	for range 3 {
		if r := s.Read(t.Context(), points(t, c, "1/3/0/uint16BE"))[0]; r.Value != uint64(5) {
			t.Fatalf("%v, %v", r.Value, r.Err)
		}
	}
}

// TestTLS reads over TLS, with the data directory's certificate and with one of the connection.
func TestTLS(t *testing.T) {
	serverCert, serverPEM, _ := certificate(t)
	clientCert, clientPEM, clientKey := certificate(t)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(clientPEM))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{serverCert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go device(func(q question) []byte { return q.registers(9) })(conn)
		}
	}()
	for name, more := range map[string]map[string]any{
		"data directory's": {"scheme": "tls", "caCert": serverPEM},
		"connection's":     {"scheme": "tls", "caCert": serverPEM, "clientCert": clientPEM, "clientPrivateKey": clientKey},
	} {
		c := connect(t, l.Addr().String(), more)
		c.config.ClientCertificate = func() (tls.Certificate, error) { return clientCert, nil }
		if r := dial(t, c).Read(t.Context(), points(t, c, "1/3/0/uint16BE"))[0]; r.Value != uint64(9) {
			t.Errorf("%s: %v, %v", name, r.Value, r.Err)
		}
	}
	for name, more := range map[string]map[string]any{
		"a foreign authority": {"scheme": "tls", "caCert": clientPEM, "clientCert": clientPEM, "clientPrivateKey": clientKey},
		"no authority":        {"scheme": "tls", "clientCert": clientPEM, "clientPrivateKey": clientKey},
		"no PEM":              {"scheme": "tls", "caCert": "x", "clientCert": clientPEM, "clientPrivateKey": clientKey},
	} {
		if s, err := connect(t, l.Addr().String(), more).Dial(t.Context()); err == nil {
			s.Close()
			t.Errorf("%s: the device is trusted", name)
		}
	}
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (cert tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	cert, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}
