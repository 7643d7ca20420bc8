package control

import (
	"encoding/json"
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
