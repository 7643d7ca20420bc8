package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/bus"
	"github.com/millwright/millwright/runtime/link"
)

// Parts says which parts a process runs. The zero value stands for all of them.
type Parts struct{ Broker, Control, Mapper bool }

// ParseParts reads "broker,control,mapper" or a part of it.
func ParseParts(text string) (Parts, error) {
	var p Parts
	for name := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(name) {
		case "broker":
			p.Broker = true
		case "control":
			p.Control = true
		case "mapper":
			p.Mapper = true
		default:
			return p, spec.Errorf(spec.Invalid, "cannot run part %q: there are broker, control and mapper", name)
		}
	}
	return p, nil
}

// String is what ParseParts reads.
func (p Parts) String() string {
	var names []string
	for _, x := range []struct {
		name string
		runs bool
	}{{"broker", p.Broker}, {"control", p.Control}, {"mapper", p.Mapper}} {
		if x.runs {
			names = append(names, x.name)
		}
	}
	return strings.Join(names, ",")
}

// Remote is how the parts of a process reach those of others.
type Remote struct {
	ControlURL    string // https://HOST[:PORT], for a part without control
	Broker        string // HOST:PORT of the broker's TLS listener, for a part without broker
	MQTTAddress   string // HOST:PORT that Cybus::MqttHost and Cybus::MqttPort stand for, where control runs without broker
	Agent         string // the mapper's name; "": spec.DefaultAgent
	JoinTokenFile string // of a part without control
	JoinTokens    string // directory with the join tokens of the others, for control
	QueueBytes    int64  // bound of what waits on disk for the broker; 0: the bus's own
}

// check returns the parts to run, and refuses what they lack.
func (p Parts) check(opts *Options) (Parts, error) {
	if p == (Parts{}) {
		p = Parts{true, true, true}
	}
	r := &opts.Remote
	if r.Agent == "" {
		r.Agent = spec.DefaultAgent
	}
	broker := opts.ListenMQTT != "" || opts.ListenMQTTS != "" || opts.ListenWS != "" || opts.ListenWSS != ""
	missing := func(what, hint string) (Parts, error) {
		return p, spec.Errorf(spec.Invalid, "cannot run %s: %s", p, what).WithHint("%s", hint)
	}
	switch {
	case p.Mapper && p != (Parts{Mapper: true}) && p != (Parts{true, true, true}):
		return missing("a mapper runs with both broker and control, or alone", "run each part in a process of its own, or broker and control together")
	case p.Broker && !broker:
		return missing("the broker has no listener", "add --listen-mqtts")
	case !p.Broker && broker:
		return missing("a listener for MQTT needs the broker", "leave --listen-mqtt, --listen-mqtts, --listen-ws and --listen-wss out")
	case p.Control && opts.ListenHTTP == "" && opts.ListenHTTPS == "":
		return missing("the API has no listener", "add --listen-https")
	case p.Control && !p.Mapper && opts.ListenHTTPS == "":
		return missing("other parts reach control over TLS alone", "add --listen-https")
	case !p.Control && opts.ListenHTTPS != "":
		return missing("--listen-https needs control", "leave it out")
	case opts.ListenHTTPRedirect != "" && opts.ListenHTTPS == "":
		return missing("there is nothing to redirect to", "add --listen-https, or leave --listen-http-redirect out")
	case opts.PublicHTTPSPort < 0 || opts.PublicHTTPSPort > 65535:
		return missing("--public-https-port is no port", "give a number from 1 to 65535")
	case !p.Control && r.ControlURL == "":
		return missing("it does not know where control is", "add --control-url")
	case !p.Broker && r.Broker == "":
		return missing("it does not know where the broker is", "add --broker")
	case p.Control && !p.Broker && r.MQTTAddress == "":
		return missing("it does not know which address Cybus::MqttHost stands for", "add --mqtt-address")
	}
	if r.MQTTAddress != "" {
		if _, _, err := splitPort(r.MQTTAddress); err != nil {
			return p, spec.Errorf(spec.Invalid, "cannot use --mqtt-address %q: %w", r.MQTTAddress, err).WithHint("give host:port, such as broker:1883")
		}
	}
	if p.Mapper {
		return p, spec.CheckAgent(r.Agent)
	}
	return p, nil
}

// partFile holds a part's membership of its instance.
const partFile = "pki/part.pem"

func (g *Gateway) newLink(hosts []string) (*link.Link, error) {
	name := g.opts.Remote.Agent
	if g.opts.Parts.Broker {
		name = spec.BrokerPart
	} else {
		hosts = nil
	}
	return link.New(link.Options{
		URL: g.opts.Remote.ControlURL, Part: name, File: g.dir.file(partFile), TokenFile: g.opts.Remote.JoinTokenFile,
		Hosts: hosts, Version: g.opts.Version, Log: g.log.With("part", "link"),
	})
}

// joinedSource is the certificate of a part that has joined.
type joinedSource struct{ link *link.Link }

func (s joinedSource) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.link.ServerCertificate(hello)
}

// connect makes the way to a broker in another process. Control logs in there with a secret of
// this process, which the broker learns of by its watch; a mapper with its own.
func (g *Gateway) connect(secret string) (err error) {
	if g.opts.Parts.Broker {
		return nil
	}
	opts := bus.Options{Log: g.log.With("part", "bus"), MaxBytes: g.opts.Remote.QueueBytes}
	if g.opts.Parts.Control {
		opts.Client = spec.ControlPart
		opts.Secret = func() (string, error) { return secret, nil }
		opts.Dial = g.dialBroker(func() (*tls.Config, error) {
			return &tls.Config{RootCAs: g.authority.Pool(), ServerName: pki.BrokerName, MinVersion: tls.VersionTLS12}, nil
		})
	} else {
		agent := g.opts.Remote.Agent
		opts.Client, opts.Fleeting = "mapper/"+agent, isRequest
		opts.Dir = filepath.Join(g.dir.file("mapper"), agent, "queue")
		opts.Secret = g.link.Secret
		opts.Dial = g.dialBroker(func() (*tls.Config, error) { return g.link.ClientTLS(pki.BrokerName) })
	}
	g.bus, err = bus.Open(opts)
	return err
}

// isRequest reports whether a topic carries requests to machines.
func isRequest(filter string) bool {
	return strings.HasSuffix(filter, "/set") || strings.HasSuffix(filter, "/req")
}

func (g *Gateway) dialBroker(config func() (*tls.Config, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := config()
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", g.opts.Remote.Broker)
	}
}

// mqttAddress is what Cybus::MqttHost and Cybus::MqttPort stand for.
func (g *Gateway) mqttAddress() func() (string, int) {
	if host, port, err := splitPort(g.opts.Remote.MQTTAddress); err == nil { // checked before
		return func() (string, int) { return host, port }
	}
	if g.bound.mqtt == nil { // TLS alone, and nothing said
		return func() (string, int) { return "localhost", 1883 }
	}
	address := g.bound.mqtt.Addr().(*net.TCPAddr) //nolint:forcetypeassert // listen binds TCP
	return func() (string, int) {
		if address.IP.IsUnspecified() {
			return "127.0.0.1", address.Port
		}
		return address.IP.String(), address.Port
	}
}

func splitPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err == nil && (host == "" || port < 1 || port > 65535) {
		err = errors.New("host or port is missing")
	}
	return host, port, err
}
