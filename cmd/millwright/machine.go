package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper/opcua"
)

// The schemes of machines.
const (
	schemeOPCUA  = "opc.tcp"
	schemeModbus = "modbus-tcp"
)

// parseMachine reads a machine's address and fills in the usual port.
func parseMachine(target string) (*url.URL, error) {
	ports := map[string]string{schemeOPCUA: "4840", schemeModbus: "502"}
	u, err := url.Parse(target)
	if err == nil && u.Hostname() != "" && ports[u.Scheme] != "" && u.User == nil {
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), ports[u.Scheme])
		}
		return u, nil
	}
	e := spec.Errorf(spec.Invalid, "cannot use %q as the address of a machine", target).
		WithHint("it looks like opc.tcp://10.0.0.7:4840 or modbus-tcp://10.0.0.8:502")
	scheme, _, _ := strings.Cut(target, "://")
	if near, ok := nearest(scheme, []string{schemeOPCUA, schemeModbus}); ok && near != scheme {
		return nil, e.WithHint("did you mean %s://?", near)
	}
	return nil, e
}

// machineLogin says who asks an OPC UA server.
type machineLogin struct {
	username     string
	passwordFile string
	clientCert   string
}

func (l *machineLogin) addFlags(f *pflag.FlagSet) {
	f.StringVar(&l.username, "username", "", "OPC UA: user `name` on the machine (default: anonymous)")
	f.StringVar(&l.passwordFile, "password-file", "", "OPC UA: `file` with that user's password in its first line")
	f.StringVar(&l.clientCert, "client-cert", "", "OPC UA: PEM `file` with client certificate and key, for servers that want a secured\nlink; an instance's own is pki/opcua-client.pem in its data directory")
	for _, name := range []string{"username", "password-file", "client-cert"} {
		f.Lookup(name).Annotations = map[string][]string{machineFlag: nil}
	}
}

// credentials reads the password, from a file or a person, and checks the certificate.
func (l *machineLogin) credentials(ctx context.Context, s *streams) (opcua.Credentials, error) {
	c := opcua.Credentials{Username: l.username}
	var err error
	switch {
	case l.passwordFile != "" && l.username == "":
		return c, spec.Errorf(spec.Invalid, "cannot log in with a password alone").WithHint("give the user by --username")
	case l.passwordFile != "":
		c.Password, err = passwordOf(l.passwordFile)
	case l.username != "":
		c.Password, err = machinePassword(ctx, s, l.username)
	}
	if err != nil || l.clientCert == "" {
		return c, err
	}
	pair, err := tls.LoadX509KeyPair(l.clientCert, l.clientCert)
	if err != nil {
		return c, spec.Errorf(spec.Invalid, "cannot use the client certificate in %q: %w", l.clientCert, err).
			WithHint("the file holds the certificate and its key, both in PEM form")
	}
	c.ClientCertificate = func() (tls.Certificate, error) { return pair, nil }
	return c, nil
}

func machinePassword(ctx context.Context, s *streams, username string) (string, error) {
	if file, ok := s.in.(*os.File); ok && isTerminal(file) {
		return askSecret(ctx, s, file, "Password of "+username+" on the machine: ")
	}
	return "", spec.Errorf(spec.Invalid, "cannot ask for the password of %q: standard input is no terminal", username).
		WithHint("give it by --password-file")
}
