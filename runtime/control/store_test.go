package control

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

func openDir(t *testing.T, dir string, key []byte) (*Control, error) {
	t.Helper()
	c, err := New(t.Context(), Options{
		Dir: dir, Key: key, Log: slog.New(slog.DiscardHandler), Verifier: credential.NewVerifier(),
		MqttAddress: func() (string, int) { return "h", 1 },
	})
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

func TestEverythingSurvivesARestart(t *testing.T) {
	i := start(t)
	i.apply(plan.Request{
		Roles:    []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}},
		Users:    []spec.User{{Username: "line1", Password: ptr("secret-1"), Roles: []string{"operators"}}},
		Services: []spec.Service{{ID: "press", Commissioning: press, Parameters: map[string]any{"host": "10.9.9.9"}}},
	})
	revision, identity := i.control.Revision(), i.control.identities.values[spec.ServiceIdentity("press")]
	i.again()
	if got := i.control.Revision(); got != revision {
		t.Errorf("the revision is %d, was %d", got, revision)
	}
	if got := i.control.identities.values[spec.ServiceIdentity("press")]; got.Credentials[0] != identity.Credentials[0] {
		t.Error("the service has another identity")
	}
	v := decodeAs[spec.ServiceView](i.do(http.MethodGet, "/api/v1/services/press", i.token, nil))
	if v.Parameters["host"] != "10.9.9.9" || v.Commissioning != press {
		t.Errorf("the service is %+v", v)
	}
	i.do(http.MethodPost, "/api/v1/login", "", spec.LoginRequest{Username: "line1", Password: "secret-1"}).want(http.StatusOK)
}

// A database that was put back from a copy has other revisions than those that parts have seen:
// their cursors must lead to a snapshot, once.
func TestRestoredStoreHasAnotherName(t *testing.T) {
	dir, key := t.TempDir(), make([]byte, 32)
	names := []string{}
	for _, restored := range []bool{false, false, true, false} {
		mark := filepath.Join(dir, restoredMark)
		if restored {
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := openDir(t, dir, key)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, c.store.id)
		_, known := c.identities.parseCursor(names[0] + "-1")
		if known != (c.store.id == names[0]) {
			t.Errorf("a cursor of %s is known: %v, in %s", names[0], known, c.store.id)
		}
		if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the mark is still there: %v", err)
		}
	}
	if names[0] != names[1] || names[1] == names[2] || names[2] != names[3] {
		t.Errorf("the store was called %v", names)
	}
}

// The image says by render.DataFormat which releases can use what another one left.
func TestDataFormatNamesTheStore(t *testing.T) {
	i := start(t)
	provider, err := i.control.store.migrations()
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := i.control.store.versions(t.Context(), provider)
	if err != nil {
		t.Fatal(err)
	}
	if _, have, _ := strings.Cut(render.DataFormat, "."); have != strconv.FormatInt(want, 10) {
		t.Errorf("the store has version %d, and render.DataFormat is %q", want, render.DataFormat)
	}
}

// The files as they lie there while the process runs are what a killed process leaves.
func TestKilledProcessLosesNothing(t *testing.T) {
	i := start(t)
	i.apply(install("press", press))
	dir := t.TempDir()
	for _, name := range []string{storeFile, storeFile + "-wal"} {
		text, err := os.ReadFile(filepath.Join(i.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openDir(t, dir, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if c.Revision() != i.control.Revision() || c.model.Load().services["press"] == nil {
		t.Errorf("the copy has revision %d and %d services", c.Revision(), len(c.model.Load().services))
	}
}

func TestStoreRefuses(t *testing.T) {
	made := t.TempDir()
	c, err := openDir(t, made, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bootstrap(t.Context(), adminPassword); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(made, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	for n := 4096; n < len(damaged); n += 512 {
		copy(damaged[n:], "damage damage damage damage damage damage")
	}
	cases := map[string]struct {
		file []byte
		key  []byte
		says string
	}{
		"no database": {bytes.Repeat([]byte("this is no database. "), 300), testKey, "damaged"},
		"damaged":     {damaged, testKey, "damaged"},
		"cut":         {whole[:len(whole)/2], testKey, "damaged"},
		"newer":       {newerSchema(t, whole), testKey, "newer release"},
		"other key":   {whole, bytes.Repeat([]byte{8}, 32), "another secrets.key"},
		"short key":   {whole, []byte("short"), "32"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, storeFile)
			if err := os.WriteFile(path, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := openDir(t, dir, test.key)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error is %v", err)
			}
			if name != "short key" && (spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), storeFile)) {
				t.Errorf("error is %v", err)
			}
			if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, test.file) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func newerSchema(t *testing.T, whole []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), storeFile)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"PRAGMA journal_mode = DELETE", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Neither passwords nor what the files hold can be read in the store.
func TestStoreHoldsNoSecrets(t *testing.T) {
	i := start(t)
	const parameter, literal, password = "parameter-secret", "literal-secret", "password-secret"
	req := install("uplink", strings.Replace(uplink, "PASSWORD", literal, 1))
	req.Services[0].Parameters = map[string]any{"token": parameter}
	req.Users = []spec.User{{Username: "line1", Password: ptr(password)}}
	i.apply(req)
	i.stop()
	files, err := filepath.Glob(filepath.Join(i.dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, secret := range []string{parameter, literal, password, adminPassword, i.token} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds %q", file, secret)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(i.dir, storeFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the store's mode is %v, %v", info.Mode(), err)
	}
}

func ptr[T any](v T) *T { return &v }

// uplink is a service with a password in its file and one in a parameter.
const uplink = `description: An uplink
metadata: {name: uplink}
parameters:
  token: {type: string, format: password}
resources:
  cloud:
    type: Cybus::Connection
    properties:
      protocol: Mqtt
      connection: {host: cloud.example, port: 8883, scheme: mqtts, username: PLANT, password: PASSWORD}
  other:
    type: Cybus::Connection
    properties:
      protocol: Mqtt
      connection: {host: other.example, port: 8883, scheme: mqtts, username: plant, password: !ref token}
`
