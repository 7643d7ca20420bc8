package credential

import (
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

func TestHashPassword(t *testing.T) {
	a, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	b, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("two hashes of one password are equal: the salt is not random")
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("HashPassword = %q", a)
	}
	v := NewVerifier()
	for secret, want := range map[string]bool{"correct horse": true, "correct hors": false, "": false} {
		if ok, err := v.Verify(t.Context(), a, secret); ok != want || err != nil {
			t.Errorf("Verify(%q) = %v, %v; want %v", secret, ok, err, want)
		}
	}
}

func TestHashPasswordRefuses(t *testing.T) {
	for _, password := range []string{"", strings.Repeat("x", MaxSecret+1)} {
		if _, err := HashPassword(password); spec.KindOf(err) != spec.Invalid {
			t.Errorf("HashPassword of %d bytes: %v, want an error of kind invalid", len(password), err)
		}
	}
}

func TestGenerated(t *testing.T) {
	secret := Generate("mw_")
	if !strings.HasPrefix(secret, "mw_") || len(secret) != 3+43 || secret == Generate("mw_") {
		t.Errorf("Generate = %q", secret)
	}
	v := NewVerifier()
	hash := HashGenerated(secret)
	if ok, err := v.Verify(t.Context(), hash, secret); !ok || err != nil {
		t.Errorf("Verify = %v, %v", ok, err)
	}
	if ok, err := v.Verify(t.Context(), hash, secret+"x"); ok || err != nil {
		t.Errorf("Verify of a wrong secret = %v, %v", ok, err)
	}
}

// The hash is a test vector of the reference implementation (phc-winner-argon2, src/test.c).
func TestVerifyForeign(t *testing.T) {
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := NewVerifier().Verify(t.Context(), hash, "password"); !ok || err != nil {
		t.Errorf("Verify = %v, %v", ok, err)
	}
}

func TestParseHashRefuses(t *testing.T) {
	const salt, sum = "c29tZXNhbHQ", "MDEyMzQ1Njc4OTAxMjM0NQ"
	good := "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum
	if _, err := parseHash(good); err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"empty":             "",
		"plain text":        "password",
		"other algorithm":   "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"version":           "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"no version":        "$argon2id$m=64,t=1,p=1$" + salt + "$" + sum,
		"memory bomb":       "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + sum,
		"memory overflow":   "$argon2id$v=19$m=4294967296,t=1,p=1$" + salt + "$" + sum,
		"time bomb":         "$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + sum,
		"lanes":             "$argon2id$v=19$m=6400,t=1,p=255$" + salt + "$" + sum,
		"no passes":         "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum,
		"no lanes":          "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum,
		"too little memory": "$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + sum,
		"negative":          "$argon2id$v=19$m=-64,t=1,p=1$" + salt + "$" + sum,
		"leading zero":      "$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + sum,
		"order":             "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + sum,
		"more costs":        "$argon2id$v=19$m=64,t=1,p=1,x=1$" + salt + "$" + sum,
		"more fields":       good + "$",
		"short salt":        "$argon2id$v=19$m=64,t=1,p=1$YQ$" + sum,
		"short sum":         "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$YQ",
		"no sum":            "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"padding":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "=$" + sum,
		"newline":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "\n$" + sum,
		"too long":          good + strings.Repeat("A", 300),
		"sha short":         "$sha256$00",
		"sha letters":       "$sha256$" + strings.Repeat("zz", 32),
		"sha upper case":    "$sha256$" + strings.Repeat("AA", 32),
	}
	for name, text := range bad {
		if _, err := parseHash(text); err == nil {
			t.Errorf("%s: parseHash(%q) is accepted", name, text)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ")
	f.Add(HashGenerated("secret"))
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHash(text)
		if err != nil {
			return
		}
		if a, ok := h.(argonHash); ok {
			if a.memory > maxMemory || a.passes > maxPasses || a.lanes > maxLanes || a.lanes == 0 || a.passes == 0 {
				t.Errorf("parseHash(%q) accepts absurd costs %+v", text, a)
			}
			if a.String() != text {
				t.Errorf("parseHash(%q) prints as %q", text, a)
			}
		}
	})
}
