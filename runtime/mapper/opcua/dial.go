package opcua

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"

	"github.com/millwright/millwright/internal/spec"
)

// open connects, picks the endpoint, secures the channel and activates a session.
func (c *connector) open(ctx context.Context) (*session, error) {
	channel, err := openChannel(ctx, c.target, unsecured(), c.token)
	if err != nil {
		return nil, c.unreachable(err)
	}
	session, err := c.openOn(ctx, channel)
	if err != nil {
		return nil, err
	}
	session.start()
	return session, nil
}

// openOn goes on from an unsecured channel, which it closes unless the session keeps it.
func (c *connector) openOn(ctx context.Context, channel *channel) (*session, error) {
	endpoints, err := c.endpoints(ctx, channel)
	var endpoint *ua.EndpointDescription
	if err == nil {
		endpoint, err = c.choose(endpoints)
	}
	if err == nil && c.mode != ua.MessageSecurityModeNone {
		giveUp(channel)
		channel, err = c.secured(ctx, endpoint)
	}
	if err != nil {
		giveUp(channel)
		return nil, err
	}
	s, err := c.createSession(ctx, channel, endpoint)
	if err == nil {
		err = s.readLimits(ctx)
	}
	if err != nil {
		giveUp(channel)
		return nil, err
	}
	return s, nil
}

func giveUp(c *channel) {
	if c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyePatience)
		defer cancel()
		c.close(ctx)
	}
}

func (c *connector) unreachable(err error) error {
	return spec.Errorf(spec.Unavailable, "cannot connect to %q: %w", c.target.url(), named(err))
}

func (c *connector) endpoints(ctx context.Context, channel *channel) ([]*ua.EndpointDescription, error) {
	response, err := channel.call(ctx, &ua.GetEndpointsRequest{EndpointURL: c.target.url()}, &ua.RequestHeader{})
	if err != nil {
		return nil, spec.Errorf(spec.Unavailable, "cannot ask %q for its endpoints: %w", c.target.url(), named(err))
	}
	list, ok := response.(*ua.GetEndpointsResponse)
	if !ok {
		return nil, spec.Errorf(spec.Unavailable, "cannot ask %q for its endpoints: the answer is a %T", c.target.url(), response)
	}
	return list.Endpoints, nil
}

// choose picks the endpoint with the connection's policy and mode. Only its security is used:
// the address stays the one that was given, for servers announce names that only they resolve.
func (c *connector) choose(endpoints []*ua.EndpointDescription) (*ua.EndpointDescription, error) {
	if len(endpoints) == 0 && c.mode == ua.MessageSecurityModeNone {
		// it lists only those with the very address that it has for itself
		return &ua.EndpointDescription{SecurityPolicyURI: c.policy, SecurityMode: c.mode}, nil
	}
	var offered []string
	for _, e := range endpoints {
		if e.SecurityPolicyURI == c.policy && e.SecurityMode == c.mode && isBinary(e) {
			return e, nil
		}
		offered = append(offered, modeName(e.SecurityMode)+"/"+policyName(e.SecurityPolicyURI))
	}
	return nil, spec.Errorf(spec.Unavailable, "cannot connect to %q with securityMode %q and securityPolicy %q: the server offers %s",
		c.target.url(), modeName(c.mode), policyName(c.policy), cmp.Or(strings.Join(offered, ", "), "none"))
}

func isBinary(e *ua.EndpointDescription) bool {
	return e.TransportProfileURI == "" || strings.HasSuffix(e.TransportProfileURI, "uatcp-uasc-uabinary")
}

// secured opens the protected channel, once the server's certificate is trusted.
func (c *connector) secured(ctx context.Context, e *ua.EndpointDescription) (*channel, error) {
	if err := c.trust.check(e.ServerCertificate); err != nil {
		return nil, err
	}
	identity, err := c.identity()
	if err != nil {
		return nil, err
	}
	s := security{policy: c.policy, mode: c.mode, client: identity, server: leafOf(e.ServerCertificate)}
	channel, err := openChannel(ctx, c.target, s, c.token)
	if err != nil {
		return nil, c.refused(identity, err)
	}
	return channel, nil
}

// refused explains a server that does not take the client certificate. Servers name the reason,
// name a vague one on purpose, or just close the connection.
func (c *connector) refused(identity clientIdentity, err error) error {
	status, ok := statusOf(err)
	if !ok && !strings.Contains(err.Error(), "closed the connection") {
		return c.unreachable(err)
	}
	if ok && !aboutCertificate(status) {
		return c.unreachable(err)
	}
	return spec.Errorf(spec.Unavailable, "cannot open a secured link to %q: the server refuses this gateway's certificate %q, SHA-1 thumbprint %s, SHA-256 fingerprint %s; "+
		"on the server, move it from the rejected to the trusted certificates, or import it (`millwright get certificate` prints it): %w",
		c.target.url(), identity.leaf.Subject.String(), thumbprint(identity.chain), fingerprint(identity.chain), named(err))
}

func aboutCertificate(s ua.StatusCode) bool {
	name := statusName(s)
	return strings.HasPrefix(name, "BadCertificate") || strings.HasPrefix(name, "BadSecurity") ||
		strings.Contains(name, "ApplicationSignature") || s == ua.StatusBadTCPInternalError
}

// createSession makes a session and logs in.
func (c *connector) createSession(ctx context.Context, channel *channel, e *ua.EndpointDescription) (*session, error) {
	created, err := c.requestSession(ctx, channel)
	if err != nil {
		return nil, err
	}
	s := &session{
		channel: channel, token: created.AuthenticationToken, log: c.log, done: make(chan struct{}), limits: newLimits(),
		pace:    c.pace,
		timeout: time.Duration(created.RevisedSessionTimeout) * time.Millisecond,
	}
	s.nodes = newNodes(s)
	if s.timeout <= 0 {
		s.timeout = c.session
	}
	return s, c.activate(ctx, s, created, e)
}

func (c *connector) requestSession(ctx context.Context, channel *channel) (*ua.CreateSessionResponse, error) {
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("cannot make a nonce: %w", err)
	}
	secure := channel.security
	response, err := channel.call(ctx, &ua.CreateSessionRequest{
		ClientDescription: &ua.ApplicationDescription{
			ApplicationURI: secure.client.applicationURI(), ProductURI: "urn:millwright",
			ApplicationName: ua.NewLocalizedText("Millwright"), ApplicationType: ua.ApplicationTypeClient,
		},
		EndpointURL: c.target.url(), SessionName: "millwright", ClientNonce: nonce,
		ClientCertificate:       secure.certificateChain(),
		RequestedSessionTimeout: float64(c.session / time.Millisecond), MaxResponseMessageSize: messageSize,
	}, &ua.RequestHeader{})
	if err != nil {
		if status, ok := statusOf(err); ok && aboutCertificate(status) && secure.client.leaf != nil {
			return nil, c.refused(secure.client, err)
		}
		return nil, spec.Errorf(spec.Unavailable, "cannot open a session with %q: %w", c.target.url(), named(err))
	}
	created, ok := response.(*ua.CreateSessionResponse)
	if !ok || created.AuthenticationToken == nil {
		return nil, spec.Errorf(spec.Unavailable, "cannot open a session with %q: the answer is a %T", c.target.url(), response)
	}
	if secure.mode != ua.MessageSecurityModeNone {
		if !sameLeaf(created.ServerCertificate, secure.server) {
			err = errors.New("its certificate changed meanwhile")
		} else {
			err = secure.verify(append(bytes.Clone(secure.certificateChain()), nonce...), created.ServerSignature)
		}
		if err != nil {
			return nil, spec.Errorf(spec.Unavailable, "cannot trust %q: %w", c.target.url(), err)
		}
	}
	return created, nil
}

// activate logs in.
func (c *connector) activate(ctx context.Context, s *session, created *ua.CreateSessionResponse, e *ua.EndpointDescription) error {
	user, err := c.userToken(e, created)
	if err != nil {
		return err
	}
	signature, err := s.channel.security.sign(append(bytes.Clone(created.ServerCertificate), created.ServerNonce...))
	if err != nil {
		return err
	}
	_, err = ask[*ua.ActivateSessionResponse](ctx, s, &ua.ActivateSessionRequest{
		ClientSignature: signature, LocaleIDs: []string{"en"},
		UserIdentityToken: ua.NewExtensionObject(user), UserTokenSignature: &ua.SignatureData{},
	})
	if err == nil {
		return nil
	}
	status, ok := statusOf(err)
	switch {
	case ok && (status == ua.StatusBadUserAccessDenied || strings.HasPrefix(statusName(status), "BadIdentityToken")):
		return c.denied(named(err))
	case ok && aboutCertificate(status) && s.channel.security.client.leaf != nil:
		return c.refused(s.channel.security.client, err)
	}
	return spec.Errorf(spec.Unavailable, "cannot log in to %q: %w", c.target.url(), named(err))
}

func (c *connector) denied(err error) error {
	if c.login.Username == "" {
		return spec.Errorf(spec.Unauthorised, "cannot log in to %q without a user name: %w", c.target.url(), err).
			WithHint("set username and password of the connection")
	}
	return spec.Errorf(spec.Unauthorised, "cannot log in to %q as %q: the server refuses the user name or password: %w", c.target.url(), c.login.Username, err)
}

// userToken is the proof of identity in the form that the endpoint asks for.
func (c *connector) userToken(e *ua.EndpointDescription, created *ua.CreateSessionResponse) (any, error) {
	if c.login.Username == "" {
		policy := tokenPolicy(e, ua.UserTokenTypeAnonymous)
		if policy == nil {
			if len(e.UserIdentityTokens) > 0 {
				return nil, c.denied(errors.New("the server takes no anonymous sessions"))
			}
			policy = &ua.UserTokenPolicy{PolicyID: "Anonymous"}
		}
		return &ua.AnonymousIdentityToken{PolicyID: policy.PolicyID}, nil
	}
	policy := tokenPolicy(e, ua.UserTokenTypeUserName)
	if policy == nil {
		return nil, spec.Errorf(spec.Unauthorised, "cannot log in to %q as %q: the server takes no user names on this endpoint", c.target.url(), c.login.Username)
	}
	token := &ua.UserNameIdentityToken{PolicyID: policy.PolicyID, UserName: c.login.Username}
	uri := policy.SecurityPolicyURI
	if uri == "" {
		uri = e.SecurityPolicyURI
	}
	if uri == ua.SecurityPolicyURINone {
		token.Password = []byte(c.login.Password)
		if c.mode != ua.MessageSecurityModeSignAndEncrypt {
			c.log.Warn("the password travels unencrypted: the server asks for it so on an open link", "server", c.target.url())
		}
		return token, nil
	}
	certificate := created.ServerCertificate
	if len(certificate) == 0 {
		certificate = e.ServerCertificate
	}
	return token, encryptPassword(token, uri, c.login.Password, certificate, created.ServerNonce)
}

// tokenPolicy prefers a policy that encrypts what it carries.
func tokenPolicy(e *ua.EndpointDescription, kind ua.UserTokenType) *ua.UserTokenPolicy {
	var found *ua.UserTokenPolicy
	for _, p := range e.UserIdentityTokens {
		if p.TokenType == kind && (found == nil || found.SecurityPolicyURI == ua.SecurityPolicyURINone) {
			found = p
		}
	}
	return found
}

func encryptPassword(token *ua.UserNameIdentityToken, policy, password string, certificate, nonce []byte) error {
	key, err := rsaKey(certificate)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot encrypt the password for the server: %w", err)
	}
	algo, err := uapolicy.Asymmetric(policy, nil, key)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot encrypt the password as the server asks: %w", err)
	}
	secret := binary.LittleEndian.AppendUint32(nil, uint32(len(password)+len(nonce)))
	secret = append(append(secret, password...), nonce...)
	if token.Password, err = algo.Encrypt(secret); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot encrypt the password for the server: %w", err)
	}
	token.EncryptionAlgorithm = algo.EncryptionURI()
	return nil
}
