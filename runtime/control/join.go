package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

const (
	joinTokenPrefix = "mwj_"
	joinTokenLife   = 24 * time.Hour
	// maxJoinToken bounds what is read of a token's file.
	maxJoinToken = 4096
	maxNonce     = 256
	// internalNames end the names by which parts know each other: nobody is given one by asking.
	internalNames = ".millwright.internal"
)

// generatedHash is the form of a hash by credential.HashGenerated.
var generatedHash = regexp.MustCompile(`^\$sha256\$[0-9a-f]{64}$`)

// partFrom finds out which part sends a request, by the certificate that the TLS handshake has
// verified. A part that was forgotten, or has joined anew with another key, is refused.
func (c *Control) partFrom(r *http.Request) (partRecord, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return partRecord{}, spec.Errorf(spec.Unauthorised, "cannot tell which part sends the request: it has no certificate").
			WithHint("only the instance's own parts use this route, over TLS under the name %s", pki.ControlName)
	}
	leaf := r.TLS.VerifiedChains[0][0]
	part, ok := c.model.Load().parts[leaf.Subject.CommonName]
	if !ok || part.Key != pki.KeyDigest(leaf) {
		return partRecord{}, spec.Errorf(spec.Unauthorised, "cannot accept the certificate of part %q: it was taken back", leaf.Subject.CommonName).
			WithHint("give the part another join token")
	}
	return part, nil
}

// IssueJoinToken makes a token that lets one part join, once, within a day.
func (c *Control) IssueJoinToken(ctx context.Context, part string) (spec.JoinToken, error) {
	if err := spec.CheckPart(part); err != nil {
		return spec.JoinToken{}, err
	}
	secret := credential.Generate(joinTokenPrefix)
	t := joinTokenRecord{Hash: credential.HashGenerated(secret), Part: part, ExpiresAt: time.Now().Add(joinTokenLife)}
	if err := c.store.touch(ctx, func(tx *transaction) error { return tx.addJoinToken(t) }); err != nil {
		return spec.JoinToken{}, err
	}
	return spec.JoinToken{Name: part, Token: secret, ExpiresAt: t.ExpiresAt.UTC()}, nil
}

// readJoinToken takes over the token in the part's file, if there is one.
func (c *Control) readJoinToken(ctx context.Context, part string) error {
	if c.opts.JoinTokens == "" {
		return nil
	}
	f, err := os.OpenInRoot(c.opts.JoinTokens, part)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the join token of part %q: %w", part, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxJoinToken))
	if err = errors.Join(err, f.Close()); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot read the join token of part %q: %w", part, err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 32 { // somebody typed it
		return spec.Errorf(spec.Unavailable, "cannot use the join token of part %q: it has %d characters, and needs 32 of chance", part, len(token))
	}
	return c.store.touch(ctx, func(tx *transaction) error {
		return tx.addJoinToken(joinTokenRecord{Hash: credential.HashGenerated(token), Part: part})
	})
}

// challenge proves to a part that this is the instance whose token it has, which the part does
// not show before.
func (c *Control) challenge(ctx context.Context, req spec.ChallengeRequest) (spec.ChallengeReply, error) {
	if err := spec.CheckPart(req.Name); err != nil {
		return spec.ChallengeReply{}, err
	}
	if len(req.Nonce) < 16 || len(req.Nonce) > maxNonce {
		return spec.ChallengeReply{}, spec.Errorf(spec.Invalid, "cannot prove anything with a nonce of %d characters: give 16 to %d", len(req.Nonce), maxNonce)
	}
	if err := c.readJoinToken(ctx, req.Name); err != nil {
		return spec.ChallengeReply{}, err
	}
	tokens, err := c.store.joinTokens(ctx, req.Name)
	if err != nil {
		return spec.ChallengeReply{}, err
	}
	reply := spec.ChallengeReply{Authority: string(c.opts.Authority.PEM()), Proofs: []string{}}
	for _, t := range tokens {
		reply.Proofs = append(reply.Proofs, pki.Proof(t.Hash, req.Nonce, c.opts.Authority.Certificate()))
	}
	return reply, nil
}

// join gives a part its certificate: for a token, or, to renew it, for the one that the request
// was made with.
func (c *Control) join(ctx context.Context, req spec.JoinRequest, before *partRecord) (spec.JoinReply, error) {
	r, err := pki.ParseRequest([]byte(req.Request))
	if err != nil {
		return spec.JoinReply{}, err
	}
	if err := checkJoin(req, r); err != nil {
		return spec.JoinReply{}, err
	}
	token, err := c.mayJoin(ctx, req, r, before)
	if err != nil {
		return spec.JoinReply{}, err
	}
	leaf, err := c.opts.Authority.Issue(r.Public, partSubject(req.Name, r.Hosts), time.Now())
	if err != nil {
		return spec.JoinReply{}, err
	}
	part := partRecord{Name: req.Name, Key: r.KeyDigest, Credential: req.Credential, JoinedAt: time.Now()}
	if before == nil || before.Key != part.Key || before.Credential != part.Credential {
		err = c.changeParts(ctx, func(tx *transaction, m *model) error {
			m.parts[part.Name] = part
			return errors.Join(tx.putPart(part), tx.spendJoinToken(token, part.Key))
		})
	}
	if err != nil {
		return spec.JoinReply{}, err
	}
	c.opts.Log.Info("a part has its certificate", "part", req.Name, "renewed", before != nil, "not_after", leaf.NotAfter)
	return spec.JoinReply{Certificate: string(pki.EncodeCertificate(leaf)), Authority: string(c.opts.Authority.PEM())}, nil
}

func checkJoin(req spec.JoinRequest, r pki.Request) error {
	if err := spec.CheckPart(req.Name); err != nil {
		return err
	}
	if r.Name != req.Name {
		return spec.Errorf(spec.Invalid, "cannot join as %q: the certificate request is for %q", req.Name, r.Name)
	}
	if !generatedHash.MatchString(req.Credential) {
		return spec.Errorf(spec.Invalid, "cannot join as %q: its credential is no hash of a generated secret", req.Name)
	}
	return nil
}

// partSubject is whom the certificate of a part is for. Only the broker serves anybody.
func partSubject(name string, hosts []string) pki.Subject {
	s := pki.Subject{Name: name, Client: true}
	if name != spec.BrokerPart {
		return s
	}
	s.Hosts = slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		return strings.HasSuffix(strings.TrimSuffix(strings.ToLower(host), "."), internalNames)
	})
	s.Hosts = append(s.Hosts, pki.BrokerName)
	return s
}

// mayJoin returns the hash of the token that lets the part in, "" where its certificate does.
func (c *Control) mayJoin(ctx context.Context, req spec.JoinRequest, r pki.Request, before *partRecord) (string, error) {
	if before != nil {
		if before.Name != req.Name || before.Key != r.KeyDigest {
			return "", spec.Errorf(spec.Forbidden, "cannot renew the certificate of part %q: the request is for %q, or for another key", before.Name, req.Name)
		}
		return "", nil
	}
	refused := spec.Errorf(spec.Unauthorised, "cannot let part %q join: its token is wrong, spent or expired", req.Name).
		WithHint("make another one: POST %s/agents/%s/join-token", apiRoot, req.Name)
	if len(req.Token) < 32 || len(req.Token) > maxJoinToken {
		return "", refused
	}
	if err := c.readJoinToken(ctx, req.Name); err != nil {
		return "", err
	}
	tokens, err := c.store.joinTokens(ctx, req.Name)
	if err != nil {
		return "", err
	}
	hash := credential.HashGenerated(req.Token)
	for _, t := range tokens {
		if t.Hash == hash && t.good(r.KeyDigest, time.Now()) {
			return hash, nil
		}
	}
	c.opts.Log.Warn("a part was not let in", "part", req.Name)
	return "", refused
}

// changeParts stores a change of who has joined, and tells all parts.
func (c *Control) changeParts(ctx context.Context, change func(*transaction, *model) error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	next := c.model.Load().clone()
	next.parts = maps.Clone(next.parts)
	revision, err := c.store.mutate(ctx, func(tx *transaction) error { return change(tx, next) })
	if err != nil {
		return err
	}
	next.revision = revision
	c.publish(next)
	return nil
}
