// Package mqtt is the mapper's driver for MQTT brokers other than the instance's own, in
// versions 5 and 3.1.1, over TCP, TLS and web sockets. Payloads pass unchanged. A session
// ends when its connection is lost; dialling again is the supervisor's.
package mqtt

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// Driver is the MQTT protocol.
func Driver() mapper.Driver { return mapper.Driver{Spec: protocol.Mqtt, New: New} }

// connector dials one broker.
type connector struct {
	cfg    protocol.MqttConnection
	target *url.URL
	tls    *tls.Config // nil without TLS
	log    *slog.Logger
	far    *farFilters // nil: the broker forgets a session when it ends
}

var _ mapper.Connector = (*connector)(nil)

// New checks a connection's properties.
func New(c mapper.Config) (mapper.Connector, error) {
	cfg := protocol.MqttConnection{Clean: true, Keepalive: 60, ProtocolVersion: 5}
	if err := json.Unmarshal(c.Properties, &cfg); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the connection's properties: %w", err)
	}
	target, err := targetOf(cfg)
	if err != nil {
		return nil, err
	}
	x := &connector{cfg: cfg, target: target, log: c.Log}
	if !cfg.Clean {
		x.far = &farFilters{}
	}
	if x.secure() {
		if x.tls, err = tlsConfig(cfg, target.Hostname()); err != nil {
			return nil, err
		}
	}
	if x.cfg.ClientID == "" {
		x.cfg.ClientID = clientID(c.Name, cfg.Clean)
	}
	if cfg.ProtocolVersion != 4 && cfg.ProtocolVersion != 5 {
		return nil, spec.Errorf(spec.Invalid, "cannot speak MQTT protocol version %d: it is 4 (MQTT 3.1.1) or 5", cfg.ProtocolVersion)
	}
	if cfg.Keepalive < 0 || cfg.Keepalive > 65535 {
		return nil, spec.Errorf(spec.Invalid, "cannot use a keepalive of %d s: it is 0 to 65535", cfg.Keepalive)
	}
	return x, nil
}

// defaultPorts also lists the schemes.
var defaultPorts = map[string]int{"mqtt": 1883, "tcp": 1883, "mqtts": 8883, "tls": 8883, "ws": 80, "wss": 443}

// targetOf returns where to dial as a URL with scheme, host and port.
func targetOf(cfg protocol.MqttConnection) (*url.URL, error) {
	target := &url.URL{Scheme: cfg.Scheme, Host: cfg.Host, Path: "/mqtt"}
	if cfg.Scheme == "" {
		target.Scheme = "mqtt"
	}
	if cfg.Host != "" && cfg.Port != 0 {
		target.Host = net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))
	} else if strings.Contains(cfg.Host, ":") {
		target.Host = "[" + cfg.Host + "]"
	}
	if cfg.URL != "" {
		parsed, err := url.Parse(cfg.URL)
		if err != nil {
			return nil, spec.Errorf(spec.Invalid, "cannot read the broker's url: %w", err)
		}
		target = parsed
	}
	target.Scheme = strings.ToLower(target.Scheme)
	port, known := defaultPorts[target.Scheme]
	switch {
	case !known:
		return nil, spec.Errorf(spec.Invalid, "cannot use scheme %q: it is mqtt, mqtts, tcp, tls, ws or wss", target.Scheme)
	case target.Hostname() == "":
		return nil, spec.Errorf(spec.Invalid, "cannot connect without host or url")
	case target.Port() == "":
		target.Host = net.JoinHostPort(target.Hostname(), strconv.Itoa(port))
	}
	return target, nil
}

func (x *connector) secure() bool {
	return x.target.Scheme == "mqtts" || x.target.Scheme == "tls" || x.target.Scheme == "wss"
}

func (x *connector) webSocket() bool {
	return x.target.Scheme == "ws" || x.target.Scheme == "wss"
}

func tlsConfig(cfg protocol.MqttConnection, host string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName: host,
		MinVersion: tls.VersionTLS12,
		//nolint:gosec // the user asked for it by trustAllCertificates
		InsecureSkipVerify: cfg.TrustAllCertificates,
	}
	if cfg.CaCert != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(cfg.CaCert)) {
			return nil, spec.Errorf(spec.Invalid, "cannot use caCert: it holds no PEM certificate")
		}
	}
	if cfg.ClientCert == "" && cfg.ClientPrivateKey == "" {
		if cfg.MutualAuthentication {
			return nil, spec.Errorf(spec.Invalid, "cannot authenticate mutually without clientCert and clientPrivateKey")
		}
		return c, nil
	}
	pair, err := tls.X509KeyPair([]byte(cfg.ClientCert), []byte(cfg.ClientPrivateKey))
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use clientCert with clientPrivateKey: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// clientID names a session after its connection. A session that the broker forgets gets a random
// end too, so that two gateways with the same service do not push each other out.
func clientID(name string, clean bool) string {
	id := "millwright-" + strings.ReplaceAll(name, "::", "-")
	if clean {
		id += "-" + rand.Text()[:8]
	}
	return id
}
