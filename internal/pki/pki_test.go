package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func identity(t *testing.T, a *Authority, s Subject) *Identity {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Issue(&key.PublicKey, s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &Identity{Key: key, Chain: []*x509.Certificate{c}}
}

func TestHandshake(t *testing.T) {
	ours, others := authority(t), authority(t)
	server := identity(t, ours, Subject{Name: "control", Hosts: []string{"localhost", "127.0.0.1", ControlName}})
	part := identity(t, ours, Subject{Name: "protocol-mapper", Client: true})
	stranger := identity(t, others, Subject{Name: "protocol-mapper", Client: true})
	try := func(client *Identity, trusts *Authority, name string) (peer string, err error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		answered := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				answered <- err
				return
			}
			defer conn.Close()
			s := tls.Server(conn, &tls.Config{
				Certificates: []tls.Certificate{*server.TLS()}, ClientCAs: ours.Pool(),
				ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
			})
			if err = s.HandshakeContext(t.Context()); err == nil {
				peer = s.ConnectionState().VerifiedChains[0][0].Subject.CommonName
			}
			answered <- err
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(conn, &tls.Config{Certificates: []tls.Certificate{*client.TLS()}, RootCAs: trusts.Pool(), ServerName: name, MinVersion: tls.VersionTLS13})
		err = c.HandshakeContext(t.Context())
		conn.Close()
		err = errors.Join(<-answered, err)
		return peer, err
	}
	for _, name := range []string{"localhost", "127.0.0.1", ControlName} {
		if peer, err := try(part, ours, name); err != nil || peer != "protocol-mapper" {
			t.Errorf("%s: %q, %v", name, peer, err)
		}
	}
	for what, f := range map[string]func() (string, error){
		"another instance's client": func() (string, error) { return try(stranger, ours, "localhost") },
		"another instance's server": func() (string, error) { return try(part, others, "localhost") },
		"a server under a wrong name": func() (string, error) {
			return try(part, ours, BrokerName)
		},
		"a server as a client": func() (string, error) { return try(server, ours, "localhost") },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestEncodeAndLoad(t *testing.T) {
	a := authority(t)
	text, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadAuthority(text)
	if err != nil || !again.Certificate().Equal(a.Certificate()) || !again.key.Equal(a.key) {
		t.Fatalf("the authority came back as %v, %v", again, err)
	}
	if strings.Contains(string(a.PEM()), "PRIVATE") {
		t.Error("the public part holds the key")
	}
	if a.Certificate().Subject.String() == authority(t).Certificate().Subject.String() {
		t.Error("two authorities have one name")
	}
	id := identity(t, a, Subject{Name: "broker", Hosts: []string{"b"}})
	leaf, err := id.Encode()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, _ := bytes.Cut(leaf, []byte("-----BEGIN PRIVATE"))
	key = append([]byte("-----BEGIN PRIVATE"), key...)
	other, err := identity(t, a, Subject{Name: "broker"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{
		"empty": nil, "garbage": []byte("x"), "without a key": certificate, "cut off": leaf[:len(leaf)-40],
		"of two": append(bytes.Clone(EncodeCertificate(a.Certificate())), key...), "no authority": leaf,
		"garbage behind": append(bytes.Clone(other), "x"...),
	} {
		if _, err := LoadAuthority(bad); spec.KindOf(err) != spec.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if alone, err := LoadIdentity(key); err != nil || len(alone.Chain) != 0 {
		t.Errorf("a key alone: %v", err)
	}
}

func TestRequest(t *testing.T) {
	a := authority(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{Key: key}
	text, err := id.Request(Subject{Name: "broker", Hosts: []string{"broker", "10.0.0.7", "broker", ""}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequest(text)
	if err != nil || r.Name != "broker" || strings.Join(r.Hosts, " ") != "broker 10.0.0.7" {
		t.Fatalf("%+v, %v", r, err)
	}
	c, err := a.Issue(r.Public, Subject{Name: r.Name, Hosts: r.Hosts, Client: true}, time.Now())
	if err != nil || KeyDigest(c) != r.KeyDigest || !Serves(c, r.Hosts) || Serves(c, []string{"control"}) || Serves(c, []string{"10.0.0.8"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ParseRequest(bytes.Replace(text, []byte("A"), []byte("B"), 1)); err == nil {
		t.Error("a damaged request is taken")
	}
	one, err1 := id.Secret()
	two, err2 := (&Identity{Key: a.key}).Secret()
	if err1 != nil || err2 != nil || one == two || len(one) != 43 {
		t.Errorf("the secrets are %q and %q", one, two)
	}
}

func TestLives(t *testing.T) {
	now := time.Now()
	a := authority(t)
	if life := a.Certificate().NotAfter.Sub(now); life < 3649*24*time.Hour {
		t.Errorf("the authority is valid for %s", life)
	}
	key, _ := NewKey()
	c, err := a.Issue(&key.PublicKey, Subject{Name: "x"}, now)
	if err != nil || c.NotAfter.Sub(now) > 398*24*time.Hour {
		t.Errorf("a certificate is valid until %s: %v", c.NotAfter, err)
	}
	if at := RenewAt(c).Sub(now); at < 200*24*time.Hour || at > 300*24*time.Hour {
		t.Errorf("it is renewed after %s", at)
	}
	late, err := a.Issue(&key.PublicKey, Subject{Name: "x"}, now.Add(9*365*24*time.Hour+200*24*time.Hour))
	if err != nil || late.NotAfter.After(a.Certificate().NotAfter) {
		t.Errorf("it outlives its authority: %v", err)
	}
}
