// Package opcua maps OPC UA servers: subscriptions, reads, writes and method calls over
// opc.tcp. It takes the codec and the cryptography of github.com/gopcua/opcua; the secure
// channel, the session and the subscriptions are its own, so that a broken server, a frozen
// link or a subscription that fell silent ends one session, which the supervisor opens again.
package opcua

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// Driver is the OPC UA protocol.
func Driver() mapper.Driver {
	return mapper.Driver{Spec: protocol.Opcua, New: newConnector}
}

// connector is one connection's settings.
type connector struct {
	target   target
	login    Credentials
	policy   string // URI
	mode     ua.MessageSecurityMode
	trust    trust
	identity func() (clientIdentity, error)
	session  time.Duration // the time-out that is asked for
	token    time.Duration // the life of a channel's keys
	pace     pace
	log      *slog.Logger
}

// target is a server's address.
type target struct {
	host string
	port int
	path string
}

func (t target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

func (t target) url() string {
	address := "opc.tcp://" + t.address()
	if path := strings.TrimPrefix(t.path, "/"); path != "" {
		address += "/" + path
	}
	return address
}

// parseTarget reads opc.tcp://host[:port][/path].
func parseTarget(text string) (target, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "opc.tcp" || parsed.Hostname() == "" {
		return target{}, spec.Errorf(spec.Invalid, "cannot use %q as an OPC UA address: write opc.tcp://host[:port][/path]", text)
	}
	port, err := strconv.ParseUint(cmp.Or(parsed.Port(), "4840"), 10, 16)
	if err != nil {
		return target{}, spec.Errorf(spec.Invalid, "cannot use the port of %q: %w", text, err)
	}
	return target{parsed.Hostname(), int(port), parsed.Path}, nil
}

func newConnector(cfg mapper.Config) (mapper.Connector, error) {
	p := protocol.OpcuaConnection{
		Port: 4840, SecurityMode: "None", SecurityPolicy: "None", SessionTimeout: 60000, TokenLifetime: 600000,
	}
	if err := unmarshal(cfg.Properties, &p); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the connection: %w", err)
	}
	if p.Host == "" || p.Port < 1 || p.Port > 65535 {
		return nil, spec.Errorf(spec.Invalid, "cannot connect to host %q, port %d: both must be given", p.Host, p.Port)
	}
	c := &connector{
		target:  target{p.Host, p.Port, p.ResourcePath},
		login:   Credentials{Username: p.Username, Password: p.Password},
		session: time.Duration(p.SessionTimeout) * time.Millisecond,
		token:   max(10*time.Second, time.Duration(p.TokenLifetime)*time.Millisecond),
		pace:    standardPace(),
		log:     cfg.Log,
	}
	if err := c.secure(p); err != nil {
		return nil, err
	}
	return c, c.authenticate(p, cfg)
}

// secure reads policy and mode, which must be both none or both not: a link never runs open
// because one of the two was forgotten.
func (c *connector) secure(p protocol.OpcuaConnection) error {
	modes := map[string]ua.MessageSecurityMode{
		"": ua.MessageSecurityModeNone, "None": ua.MessageSecurityModeNone,
		"Sign": ua.MessageSecurityModeSign, "SignAndEncrypt": ua.MessageSecurityModeSignAndEncrypt,
	}
	mode, ok := modes[p.SecurityMode]
	if !ok {
		return spec.Errorf(spec.Invalid, "cannot use securityMode %q: choose None, Sign or SignAndEncrypt", p.SecurityMode)
	}
	policy := cmp.Or(strings.TrimPrefix(p.SecurityPolicy, policyPrefix), "None")
	switch policy {
	case "None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss":
	default:
		return spec.Errorf(spec.Invalid, "cannot use securityPolicy %q: choose None, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss", p.SecurityPolicy)
	}
	if (policy == "None") != (mode == ua.MessageSecurityModeNone) {
		return spec.Errorf(spec.Invalid, "cannot combine securityMode %q with securityPolicy %q: set both, or neither", cmp.Or(p.SecurityMode, "None"), policy)
	}
	c.policy, c.mode = policyPrefix+policy, mode
	return nil
}

func (c *connector) authenticate(p protocol.OpcuaConnection, cfg mapper.Config) error {
	c.trust.all = p.TrustAllCertificates
	if p.CaCert != "" {
		var err error
		if c.trust.given, err = certificates(p.CaCert); err != nil {
			return spec.Errorf(spec.Invalid, "cannot read caCert: %w", err)
		}
	}
	switch {
	case (p.ClientCert == "") != (p.ClientPrivateKey == ""):
		return spec.Errorf(spec.Invalid, "cannot use clientCert without clientPrivateKey, nor the reverse: give both or neither")
	case p.ClientCert != "":
		identity, err := givenIdentity(p.ClientCert, p.ClientPrivateKey)
		c.identity = func() (clientIdentity, error) { return identity, nil }
		return err
	}
	c.identity = func() (clientIdentity, error) {
		if cfg.ClientCertificate == nil {
			return clientIdentity{}, spec.Errorf(spec.Invalid, "cannot open a secured link without clientCert and clientPrivateKey")
		}
		cert, err := cfg.ClientCertificate()
		if err != nil {
			return clientIdentity{}, spec.Errorf(spec.Unavailable, "cannot get the data directory's OPC UA certificate: %w", err)
		}
		return gatewayIdentity(cert)
	}
	return nil
}

// unmarshal decodes one object, and nothing after it.
func unmarshal(raw json.RawMessage, into any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return errors.New("it is no object")
	}
	return json.Unmarshal(raw, into)
}

// Dial opens a channel and a session and logs in.
func (c *connector) Dial(ctx context.Context) (mapper.Session, error) {
	return c.open(ctx)
}

// Point checks an endpoint's address.
func (c *connector) Point(op mapper.Operation, address json.RawMessage) (mapper.Point, error) {
	return parsePoint(op, address)
}
