package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// deployed is a control part in a data directory of its own, without listeners.
type deployed struct {
	*testing.T
	*Gateway
	given string // file of the admin's password
	other string // token of somebody else who administers
	log   *bytes.Buffer
}

func deploy(t *testing.T) *deployed {
	t.Helper()
	d := &deployed{T: t, given: filepath.Join(t.TempDir(), "admin-password"), log: &bytes.Buffer{}}
	dir := opened(t, t.TempDir())
	authority, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.Gateway = &Gateway{dir: dir, authority: authority, log: slog.New(slog.NewTextHandler(d.log, nil))}
	c, err := control.New(t.Context(), control.Options{
		Dir: dir.path, Key: dir.key, Log: d.Gateway.log, Verifier: credential.NewVerifier(),
		MqttAddress: func() (string, int) { return "127.0.0.1", 1883 },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.control = c
	return d
}

// give lays a password, and a label if there is one, where the deployer lays them.
func (d *deployed) give(password, label string) {
	d.Helper()
	for name, text := range map[string]string{d.given: password, d.given + labelSuffix: label} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			d.Fatal(err)
		}
	}
}

func (d *deployed) bootstrap(given string) {
	d.Helper()
	if err := d.Bootstrap(d.Context(), given); err != nil {
		d.Fatal(err)
	}
}

func (d *deployed) line(name string) string {
	d.Helper()
	text, err := os.ReadFile(d.dir.file(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// lets reports whether the admin can log in with the password.
func (d *deployed) lets(password string) bool {
	d.Helper()
	_, err := d.control.Login(d.Context(), firstAdmin, password, "192.0.2.1")
	if err != nil && spec.KindOf(err) != spec.Unauthorised {
		d.Fatal(err)
	}
	return err == nil
}

func TestBootstrapGenerates(t *testing.T) {
	d := deploy(t)
	defer d.control.Close()
	d.bootstrap("")
	password := d.line(passwordFile)
	if !d.lets(password) || d.line(appliedFile) != "" || !strings.Contains(d.line(publicCertificate), "CERTIFICATE") {
		t.Errorf("the files are not those of a first start")
	}
	token := d.line(tokenFile)
	if _, err := d.control.TokenExpires(t.Context(), token); err != nil {
		t.Errorf("the token: %v", err)
	}
	for _, name := range []string{passwordFile, tokenFile, publicCertificate} {
		if info, err := os.Stat(d.dir.file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	before := d.control.Revision()
	d.bootstrap("")
	if d.line(passwordFile) != password || d.line(tokenFile) != token || d.control.Revision() != before {
		t.Error("another start changes something")
	}
	if log := d.log.String(); strings.Contains(log, password) || strings.Contains(log, token) {
		t.Errorf("the log holds a secret:\n%s", log)
	}
}

// A password without a label is the first admin's, and nobody's later: it may be a generated one.
func TestBootstrapWithoutLabel(t *testing.T) {
	d := deploy(t)
	defer d.control.Close()
	d.give("first password", "")
	d.bootstrap(d.given)
	if !d.lets("first password") {
		t.Fatal("the first admin has another password")
	}
	d.give("second password", "")
	d.bootstrap(d.given)
	if d.lets("second password") || d.line(appliedFile) != "" {
		t.Error("a password that nobody asked for is enforced")
	}
	if err := os.Remove(d.given); err != nil {
		t.Fatal(err)
	}
	d.bootstrap(d.given) // it is of no account any more
}

func TestBootstrapEnforcesOnce(t *testing.T) {
	d := deploy(t)
	defer d.control.Close()
	d.give("first password", "1")
	d.bootstrap(d.given)
	if !d.lets("first password") || d.line(appliedFile) != "1" {
		t.Fatalf("applied is %q", d.line(appliedFile))
	}
	session, err := d.control.Login(t.Context(), firstAdmin, "first password", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	before := d.control.Revision()
	d.bootstrap(d.given)
	if d.control.Revision() != before {
		t.Error("another start changes something")
	}
	// The same password under another label ends no session; another one does.
	d.give("first password", "2")
	d.bootstrap(d.given)
	if _, err := d.control.TokenExpires(t.Context(), session.Token); err != nil || d.line(appliedFile) != "2" {
		t.Errorf("applied is %q, the session: %v", d.line(appliedFile), err)
	}
	token := d.line(tokenFile)
	d.give("second password", "3")
	d.bootstrap(d.given)
	if d.lets("first password") || !d.lets("second password") || d.line(appliedFile) != "3" || d.line(tokenFile) != token {
		t.Errorf("applied is %q", d.line(appliedFile))
	}
	if _, err := d.control.TokenExpires(t.Context(), session.Token); spec.KindOf(err) != spec.Unauthorised {
		t.Errorf("a session outlives its password: %v", err)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	d := deploy(t)
	defer d.control.Close()
	for name, text := range map[string]string{"empty": "\n", "short": "1234", "long": strings.Repeat("x", largestAdminSecret+1)} {
		d.give(text, "1")
		if err := d.Bootstrap(t.Context(), d.given); spec.KindOf(err) != spec.Invalid || d.control.HasUsers() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.Bootstrap(t.Context(), filepath.Join(t.TempDir(), "none")); spec.KindOf(err) != spec.Invalid {
		t.Errorf("no file: %v", err)
	}
	if err := (&Gateway{}).Bootstrap(t.Context(), "none"); err != nil {
		t.Errorf("a part without control: %v", err)
	}
}

// kept runs the test beside the goroutine that keeps the deployer's files, in virtual time.
func kept(t *testing.T, test func(*deployed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := deploy(t)
		d.give("first password", "1")
		d.bootstrap(d.given)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.deployer.Run(ctx) }()
		defer func() {
			stop()
			if err := errors.Join(<-ended, d.control.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(d)
	})
}

// ask sends a request as another administrator, and lets everything settle.
func (d *deployed) ask(method, path, body string) {
	d.Helper()
	request := httptest.NewRequestWithContext(d.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+d.other)
	answer := httptest.NewRecorder()
	d.control.Handler().ServeHTTP(answer, request)
	if answer.Code >= 300 {
		d.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	synctest.Wait()
}

// chief makes another administrator, who can do what the admin cannot do to themself.
func (d *deployed) chief() {
	d.Helper()
	d.other = d.line(tokenFile)
	d.ask(http.MethodPut, "/api/v1/users/chief", `{"password": "chief's password", "roles": ["admin"]}`)
	token, err := d.control.IssueToken(d.Context(), "chief", "chief", 365*24*time.Hour)
	if err != nil {
		d.Fatal(err)
	}
	d.other = token.Token
}

// inForce reports whether the token in the file is.
func (d *deployed) inForce() bool {
	_, err := d.control.TokenExpires(d.Context(), d.line(tokenFile))
	return err == nil
}

// The deployer's token is another one long before it ends, and the one before ends when it said.
func TestDeployerTokenIsRenewed(t *testing.T) {
	kept(t, func(d *deployed) {
		first, began := d.line(tokenFile), time.Now()
		for time.Since(began) < 365*24*time.Hour {
			time.Sleep(23 * time.Hour)
			synctest.Wait()
			expires, err := d.control.TokenExpires(d.Context(), d.line(tokenFile))
			if err != nil || time.Until(expires) < deployerTokenLeft-time.Minute {
				d.Fatalf("after %s the token ends at %s: %v", time.Since(began), expires, err)
			}
		}
		if _, err := d.control.TokenExpires(d.Context(), first); spec.KindOf(err) != spec.Unauthorised {
			d.Errorf("the first token: %v", err)
		}
	})
}

func TestDeployerTokenIsReplaced(t *testing.T) {
	kept(t, func(d *deployed) {
		d.chief()
		first := d.line(tokenFile)
		d.ask(http.MethodDelete, "/api/v1/tokens/"+d.tokenID(), "")
		if d.line(tokenFile) == first || !d.inForce() {
			d.Error("a revoked token is not replaced")
		}
		if d.log.Reset(); !d.inForce() {
			d.Fatal("no token")
		}
		d.ask(http.MethodPut, "/api/v1/users/admin", `{"grants": ["password"]}`)
		d.ask(http.MethodPut, "/api/v1/roles/any", `{"permissions": []}`)
		if n := strings.Count(d.log.String(), "the deployer gets none"); d.inForce() || n != 1 {
			d.Errorf("without the grant: told %d times", n)
		}
		d.ask(http.MethodPut, "/api/v1/users/admin", `{"grants": ["password", "token"]}`)
		if !d.inForce() {
			d.Error("with the grant again there is no token")
		}
		d.ask(http.MethodDelete, "/api/v1/users/admin", "")
		if d.inForce() {
			d.Error("a token outlives its user")
		}
		d.ask(http.MethodPut, "/api/v1/users/admin", `{"password": "another password", "roles": ["admin"]}`)
		if !d.inForce() {
			d.Error("with the user again there is no token")
		}
	})
}

func (d *deployed) tokenID() string {
	d.Helper()
	request := httptest.NewRequestWithContext(d.Context(), http.MethodGet, "/api/v1/tokens", nil)
	request.Header.Set("Authorization", "Bearer "+d.other)
	answer := httptest.NewRecorder()
	d.control.Handler().ServeHTTP(answer, request)
	var tokens spec.Page[spec.TokenView]
	if err := json.Unmarshal(answer.Body.Bytes(), &tokens); err != nil {
		d.Fatalf("%v: %s", err, answer.Body)
	}
	for _, token := range tokens.Items {
		if token.Name == deployerTokenName {
			return token.ID
		}
	}
	d.Fatalf("no token of the deployer in %+v", tokens)
	return ""
}

// Whatever becomes of the given password is in the file at once, and mended by the next label alone.
func TestEnforcedPasswordIsMended(t *testing.T) {
	kept(t, func(d *deployed) {
		d.chief()
		mended := 1
		for what, do := range map[string]func(){
			"another password": func() { d.ask(http.MethodPut, "/api/v1/users/admin", `{"password": "another password"}`) },
			"no role":          func() { d.ask(http.MethodPut, "/api/v1/users/admin", `{"roles": []}`) },
			"no log-in":        func() { d.ask(http.MethodPut, "/api/v1/users/admin", `{"grants": ["token"]}`) },
			"no user":          func() { d.ask(http.MethodDelete, "/api/v1/users/admin", "") },
		} {
			do()
			d.bootstrap(d.given) // a start alone changes nothing
			if d.line(appliedFile) != "" || d.allowed("first password") {
				d.Errorf("%s: applied is %q", what, d.line(appliedFile))
			}
			mended++
			d.give("first password", strconv.Itoa(mended))
			d.bootstrap(d.given)
			synctest.Wait()
			if d.line(appliedFile) != strconv.Itoa(mended) || !d.allowed("first password") {
				d.Errorf("%s is not mended: applied is %q", what, d.line(appliedFile))
			}
		}
		d.ask(http.MethodPut, "/api/v1/users/admin", `{"password": "first password"}`)
		if d.line(appliedFile) == "" {
			d.Error("the same password counts as another one")
		}
	})
}

// allowed reports whether the admin can log in with the password and administer.
func (d *deployed) allowed(password string) bool {
	d.Helper()
	session, err := d.control.Login(d.Context(), firstAdmin, password, "192.0.2.1")
	if err != nil {
		return false
	}
	s, err := d.control.Session(d.Context(), session.Token)
	if err != nil {
		return false
	}
	_, whole := s.Services()
	return whole
}

// What the disk did not take is written when it does, without another token for each attempt.
func TestDeployerRetries(t *testing.T) {
	kept(t, func(d *deployed) {
		d.chief()
		if err := os.Remove(d.dir.file(tokenFile)); err != nil {
			d.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(d.dir.file(tokenFile), "in the way"), 0o700); err != nil {
			d.Fatal(err)
		}
		d.ask(http.MethodDelete, "/api/v1/tokens/"+d.tokenID(), "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if !strings.Contains(d.log.String(), "it is tried again") {
			d.Error("nobody is told")
		}
		if err := os.RemoveAll(d.dir.file(tokenFile)); err != nil {
			d.Fatal(err)
		}
		time.Sleep(deployerRetry)
		synctest.Wait()
		if n := strings.Count(d.log.String(), "has a new token"); !d.inForce() || n != 2 {
			d.Errorf("%d tokens were made", n)
		}
	})
}
