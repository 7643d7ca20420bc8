package control

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/pki"
	"github.com/millwright/millwright/internal/spec"
)

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The authority's certificate is there for who cannot log in yet, and never its key.
func TestAuthorityRoute(t *testing.T) {
	authority := newAuthority(t)
	i := start(t, func(o *Options) { o.Authority = authority })
	var v spec.AuthorityView
	if err := json.Unmarshal(i.do("GET", "/api/v1/authority", "", nil).want(200).body, &v); err != nil {
		t.Fatal(err)
	}
	if v.PEM != string(authority.PEM()) || v.Fingerprint != pki.Fingerprint(authority.Certificate()) || !v.NotAfter.Equal(authority.Certificate().NotAfter) {
		t.Errorf("it is %+v", v)
	}
}

// A token lets one key in, however many ask with it at once.
func TestJoinTokenIsSpentOnce(t *testing.T) {
	i := start(t, func(o *Options) { o.Authority = newAuthority(t) })
	token, err := i.control.IssueJoinToken(t.Context(), "hall-2")
	if err != nil {
		t.Fatal(err)
	}
	var joined atomic.Int32
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range 16 {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		request, err := (&pki.Identity{Key: key}).Request(pki.Subject{Name: "hall-2"})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			<-begin
			_, err := i.control.join(t.Context(), spec.JoinRequest{
				Name: "hall-2", Token: token.Token, Request: string(request), Credential: "$sha256$" + strings.Repeat("0", 64),
			}, nil)
			switch {
			case err == nil:
				joined.Add(1)
			case spec.KindOf(err) != spec.Unauthorised:
				t.Error(err)
			}
		})
	}
	close(begin)
	if all.Wait(); joined.Load() != 1 {
		t.Errorf("the token let %d in", joined.Load())
	}
}
