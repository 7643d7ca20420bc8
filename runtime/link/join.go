package link

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

// join trades the token for a certificate. First the control part proves that it knows the token,
// and which authority is the instance's; only then is the token sent, to a server of that authority.
func (l *Link) join(ctx context.Context) error {
	text, err := os.ReadFile(l.opts.TokenFile)
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the join token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	authority, err := l.findAuthority(ctx, token)
	if err != nil {
		return err
	}
	client := newClient(&tls.Config{RootCAs: pki.Pool(authority), ServerName: pki.ControlName, MinVersion: tls.VersionTLS12})
	defer client.CloseIdleConnections()
	return l.trade(ctx, client, "join", token)
}

// renew asks for another certificate of the same key.
func (l *Link) renew(ctx context.Context) error { return l.trade(ctx, l.client, "join/renew", "") }

// findAuthority asks whoever answers for the instance's authority, and believes no more than
// the token proves.
func (l *Link) findAuthority(ctx context.Context, token string) (*x509.Certificate, error) {
	anybody := newClient(&tls.Config{ServerName: pki.ControlName, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}) // the proof is in the answer
	defer anybody.CloseIdleConnections()
	req := spec.ChallengeRequest{Name: l.opts.Part, Nonce: rand.Text()}
	var reply spec.ChallengeReply
	if err := l.do(ctx, anybody, http.MethodPost, "join/challenge", req, &reply); err != nil {
		return nil, err
	}
	authority, err := pki.ParseCertificate([]byte(reply.Authority))
	if err != nil {
		return nil, err
	}
	want := pki.Proof(credential.HashGenerated(token), req.Nonce, authority)
	for _, proof := range reply.Proofs {
		if hmac.Equal([]byte(proof), []byte(want)) {
			return authority, nil
		}
	}
	return nil, spec.Errorf(spec.Unauthorised, "cannot join: what answers at %s does not know the token in %q", l.base.Host, l.opts.TokenFile).
		WithHint("the token is of another instance, or was taken back: make another one")
}

// trade asks for a certificate and takes it over.
func (l *Link) trade(ctx context.Context, client *http.Client, path, token string) error {
	id := l.identity()
	secret, err := id.Secret()
	if err != nil {
		return err
	}
	request, err := id.Request(pki.Subject{Name: l.opts.Part, Hosts: l.opts.Hosts})
	if err != nil {
		return err
	}
	var reply spec.JoinReply
	err = l.do(ctx, client, http.MethodPost, path, spec.JoinRequest{
		Name: l.opts.Part, Token: token, Request: string(request), Credential: credential.HashGenerated(secret),
	}, &reply)
	if err != nil {
		return err
	}
	leaf, err := pki.ParseCertificate([]byte(reply.Certificate))
	if err != nil {
		return err
	}
	authority, err := pki.ParseCertificate([]byte(reply.Authority))
	if err != nil {
		return err
	}
	return l.take(&pki.Identity{Key: id.Key, Chain: []*x509.Certificate{leaf, authority}})
}

// take keeps the new identity, then uses it.
func (l *Link) take(id *pki.Identity) error {
	if err := keep(l.opts.File, id); err != nil {
		return err
	}
	l.mu.Lock()
	first := !l.member(l.id)
	l.id = id
	l.mu.Unlock()
	if first {
		close(l.joined)
	}
	l.client.CloseIdleConnections() // those that stand know the certificate before
	l.log.Info("the part has its certificate", "part", l.opts.Part, "not_after", id.Chain[0].NotAfter, "authority", pki.Fingerprint(id.Chain[1]))
	return nil
}
