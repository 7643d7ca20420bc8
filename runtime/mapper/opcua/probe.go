package opcua

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/internal/spec"
)

// Credentials of a user; the zero value logs in as nobody, on an open link.
type Credentials struct {
	Username string
	Password string
	// ClientCertificate lets Probe and Browse use a server that has only secured endpoints.
	ClientCertificate func() (tls.Certificate, error)
}

// ProbeReport is what a server says about itself.
type ProbeReport struct {
	URL          string          `json:"url"`
	Endpoints    []ProbeEndpoint `json:"endpoints"`
	Certificates []ProbeCert     `json:"certificates"`
	Login        ProbeLogin      `json:"login"`
	Server       *ProbeServer    `json:"server,omitempty"` // nil: the log-in failed
	Limits       *ProbeLimits    `json:"limits,omitempty"`
}

// ProbeEndpoint is one way to connect, in the words of the connection's properties.
type ProbeEndpoint struct {
	URL            string   `json:"url"`
	SecurityMode   string   `json:"securityMode"`
	SecurityPolicy string   `json:"securityPolicy"`
	Logins         []string `json:"logins"`                // Anonymous, UserName, Certificate, IssuedToken
	Fingerprint    string   `json:"fingerprint,omitempty"` // of its certificate
	Supported      bool     `json:"supported"`             // by this build
}

// ProbeCert is a certificate that the server announces.
type ProbeCert struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint"` // SHA-256
	NotAfter    time.Time `json:"notAfter"`
	PEM         string    `json:"pem"`
}

// ProbeLogin tells how the log-in went.
type ProbeLogin struct {
	OK             bool   `json:"ok"`
	Username       string `json:"username,omitempty"`
	SecurityMode   string `json:"securityMode,omitempty"`
	SecurityPolicy string `json:"securityPolicy,omitempty"`
	Error          string `json:"error,omitempty"`
}

// ProbeServer is the server's state.
type ProbeServer struct {
	Product      string    `json:"product"`
	Manufacturer string    `json:"manufacturer"`
	Version      string    `json:"version"`
	State        string    `json:"state"`
	Time         time.Time `json:"time"`
	Namespaces   []string  `json:"namespaces"`
}

// ProbeLimits are the numbers of operations that the driver puts into one request.
type ProbeLimits struct {
	NodesPerRead          int `json:"nodesPerRead"`
	NodesPerWrite         int `json:"nodesPerWrite"`
	MonitoredItemsPerCall int `json:"monitoredItemsPerCall"`
	NodesPerBrowse        int `json:"nodesPerBrowse"`
}

// Probe asks the server at url (opc.tcp://host[:port][/path]) what it offers and tries to log in. A
// log-in that fails is part of the report; an error means that the server does not answer.
func Probe(ctx context.Context, url string, login Credentials) (ProbeReport, error) {
	c, err := newProber(url, login)
	if err != nil {
		return ProbeReport{}, err
	}
	endpoints, err := c.discover(ctx)
	if err != nil {
		return ProbeReport{}, err
	}
	report := ProbeReport{URL: c.target.url()}
	for _, e := range endpoints {
		report.add(e)
	}
	report.Login.Username = login.Username
	err = c.prefer(endpoints)
	if err == nil {
		report.Login.SecurityMode, report.Login.SecurityPolicy = modeName(c.mode), policyName(c.policy)
		err = c.inspect(ctx, &report)
	}
	if err != nil {
		report.Login.Error = err.Error()
	}
	return report, nil
}

// newProber is a connector without a file. It trusts any server: it only looks.
func newProber(url string, login Credentials) (*connector, error) {
	at, err := parseTarget(url)
	if err != nil {
		return nil, err
	}
	c := &connector{
		target: at, login: login, trust: trust{all: true}, log: slog.New(slog.DiscardHandler),
		policy: ua.SecurityPolicyURINone, mode: ua.MessageSecurityModeNone,
		session: time.Minute, token: 10 * time.Minute, pace: standardPace(),
	}
	c.identity = func() (clientIdentity, error) {
		cert, err := login.ClientCertificate()
		if err != nil {
			return clientIdentity{}, spec.Errorf(spec.Unavailable, "cannot get the client certificate: %w", err)
		}
		return gatewayIdentity(cert)
	}
	return c, nil
}

func (c *connector) discover(ctx context.Context) ([]*ua.EndpointDescription, error) {
	channel, err := openChannel(ctx, c.target, unsecured(), c.token)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer giveUp(channel)
	return c.endpoints(ctx, channel)
}

// prefer sets the security with which the log-in is tried: none, where the server has that and
// takes the kind of log-in, else the strongest.
func (c *connector) prefer(endpoints []*ua.EndpointDescription) error {
	kind := ua.UserTokenTypeAnonymous
	if c.login.Username != "" {
		kind = ua.UserTokenTypeUserName
	}
	var best *ua.EndpointDescription
	open := len(endpoints) == 0
	for _, e := range endpoints {
		switch {
		case !isBinary(e) || !supported(e):
		case e.SecurityMode == ua.MessageSecurityModeNone:
			open = open || tokenPolicy(e, kind) != nil
		case best == nil || e.SecurityLevel > best.SecurityLevel:
			best = e
		}
	}
	switch {
	case open:
		return nil
	case best == nil:
		return spec.Errorf(spec.Unavailable, "cannot log in to %q: no endpoint takes a %s log-in with a security policy that this version has",
			c.target.url(), tokenName(kind))
	case c.login.ClientCertificate == nil:
		return spec.Errorf(spec.Unavailable, "cannot log in to %q: it takes a %s log-in on secured endpoints only, and no client certificate is given",
			c.target.url(), tokenName(kind))
	}
	c.policy, c.mode = best.SecurityPolicyURI, best.SecurityMode
	return nil
}

func supported(e *ua.EndpointDescription) bool {
	switch policyName(e.SecurityPolicyURI) {
	case "None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss":
		return true
	}
	return false
}

func tokenName(t ua.UserTokenType) string { return strings.TrimPrefix(t.String(), "UserTokenType") }

func (r *ProbeReport) add(e *ua.EndpointDescription) {
	endpoint := ProbeEndpoint{
		URL: e.EndpointURL, SecurityMode: modeName(e.SecurityMode), SecurityPolicy: policyName(e.SecurityPolicyURI),
		Supported: isBinary(e) && supported(e), Logins: []string{},
	}
	for _, t := range e.UserIdentityTokens {
		if name := tokenName(t.TokenType); !slices.Contains(endpoint.Logins, name) {
			endpoint.Logins = append(endpoint.Logins, name)
		}
	}
	if len(e.ServerCertificate) > 0 {
		endpoint.Fingerprint = fingerprint(e.ServerCertificate)
		r.addCertificate(e.ServerCertificate)
	}
	r.Endpoints = append(r.Endpoints, endpoint)
}

func (r *ProbeReport) addCertificate(chain []byte) {
	print := fingerprint(chain)
	if slices.ContainsFunc(r.Certificates, func(c ProbeCert) bool { return c.Fingerprint == print }) {
		return
	}
	cert := ProbeCert{
		Fingerprint: print,
		PEM:         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafOf(chain)})),
	}
	if parsed, err := x509.ParseCertificate(leafOf(chain)); err == nil {
		cert.Subject, cert.NotAfter = parsed.Subject.String(), parsed.NotAfter
	}
	r.Certificates = append(r.Certificates, cert)
}

// inspect logs in and reads what the server says about itself.
func (c *connector) inspect(ctx context.Context, r *ProbeReport) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // never fails
	r.Login.OK = true
	r.Limits = &ProbeLimits{
		NodesPerRead: s.limits.read.get(), NodesPerWrite: s.limits.write.get(),
		MonitoredItemsPerCall: s.limits.monitor.get(), NodesPerBrowse: s.limits.browse.get(),
	}
	values, err := s.readAttributes(ctx, []*ua.ReadValueID{
		valueOf(ua.NewNumericNodeID(0, id.Server_ServerStatus)), valueOf(ua.NewNumericNodeID(0, id.Server_NamespaceArray)),
	})
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the server's state: %w", named(err))
	}
	r.Server = &ProbeServer{}
	uris, _ := values[1].value.value.([]any)
	for _, uri := range uris {
		if text, ok := uri.(string); ok {
			r.Server.Namespaces = append(r.Server.Namespaces, text)
		}
	}
	if s, ok := values[0].value.value.(*structure); ok {
		if status, ok := s.value.(*ua.ServerStatusDataType); ok {
			r.Server.describe(status)
		}
	}
	return nil
}

func (p *ProbeServer) describe(status *ua.ServerStatusDataType) {
	p.State = strings.TrimPrefix(status.State.String(), "ServerState")
	p.Time = status.CurrentTime
	if b := status.BuildInfo; b != nil {
		p.Product, p.Manufacturer, p.Version = b.ProductName, b.ManufacturerName, b.SoftwareVersion
	}
}

// WriteText prints the report for people.
func (r ProbeReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.URL)
	if s := r.Server; s != nil {
		fmt.Fprintf(&b, "server: %s %s by %s, state %s, its time is %s\n", s.Product, s.Version, s.Manufacturer, s.State, s.Time.Format(time.RFC3339))
	}
	b.WriteString("\nendpoints:\n")
	table := tabwriter.NewWriter(&b, 2, 4, 2, ' ', 0)
	fmt.Fprintln(table, "  SECURITYMODE\tSECURITYPOLICY\tLOG-IN\t")
	for _, e := range r.Endpoints {
		note := ""
		if !e.Supported {
			note = "(not supported here)"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", e.SecurityMode, e.SecurityPolicy, strings.Join(e.Logins, ", "), note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	r.writeLogin(&b)
	for _, c := range r.Certificates {
		fmt.Fprintf(&b, "\ncertificate %q, valid until %s\nSHA-256 %s\n%s", c.Subject, c.NotAfter.Format(time.DateOnly), c.Fingerprint, c.PEM)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r ProbeReport) writeLogin(b *strings.Builder) {
	who := "without a user name"
	if r.Login.Username != "" {
		who = fmt.Sprintf("as %q", r.Login.Username)
	}
	if !r.Login.OK {
		fmt.Fprintf(b, "\nlog-in %s: failed: %s\n", who, r.Login.Error)
		return
	}
	fmt.Fprintf(b, "\nlog-in %s: works, with securityMode %s and securityPolicy %s\n", who, r.Login.SecurityMode, r.Login.SecurityPolicy)
	if l := r.Limits; l != nil {
		fmt.Fprintf(b, "\nin one request: %d nodes read, %d written, %d monitored, %d browsed\n",
			l.NodesPerRead, l.NodesPerWrite, l.MonitoredItemsPerCall, l.NodesPerBrowse)
	}
	if r.Server != nil && len(r.Server.Namespaces) > 0 {
		b.WriteString("\nnamespaces:\n")
		for i, uri := range r.Server.Namespaces {
			fmt.Fprintf(b, "  %d  %s\n", i, uri)
		}
	}
}
