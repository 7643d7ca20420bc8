package gateway

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFormats opens a data directory of every format that a release has written. Each lies
// in testdata/formats as text: control.sql is the store, key.hex secrets.key, desired.b64
// the mapper's copy of its desired state (docs/decisions/0007).
func TestFormats(t *testing.T) {
	formats, err := filepath.Glob(filepath.Join("testdata", "formats", "*"))
	if err != nil || len(formats) == 0 {
		t.Fatalf("no formats (%v)", err)
	}
	for _, format := range formats {
		t.Run(filepath.Base(format), func(t *testing.T) {
			dir := t.TempDir()
			buildDataDir(t, format, dir)
			var log bytes.Buffer
			g, err := New(t.Context(), Options{
				DataDir: dir, ListenHTTP: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", Version: "1.0.0",
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			if err != nil {
				t.Fatal(err)
			}
			token, err := g.Control().IssueToken(t.Context(), "admin", "formats", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]string{
				"/api/v1/services/press":  `"name":"press"`,
				"/api/v1/users/line1":     `"operators"`,
				"/api/v1/roles/operators": `plant/#`,
			} {
				request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
				request.Header.Set("Authorization", "Bearer "+token.Token)
				answer := httptest.NewRecorder()
				g.Control().Handler().ServeHTTP(answer, request)
				if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), want) {
					t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
				}
			}
			// A run takes over the caches too: what could not be used would be warned of.
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- g.Run(ctx) }()
			<-g.mapper.Synced()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if strings.Contains(log.String(), "cannot use") || strings.Contains(log.String(), "refused by this build") {
				t.Errorf("the log says:\n%s", log.String())
			}
		})
	}
}

func buildDataDir(t *testing.T, format, dir string) {
	t.Helper()
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(format, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	write := func(name string, content []byte, err error) {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(read("key.hex"))))
	write("secrets.key", key, err)
	desired, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(read("desired.b64")), "\n", ""))
	write("mapper/protocol-mapper/desired.bin", desired, err)
	write("format.json", read("format.json"), nil)
	write("broker/policy.json", read("policy.json"), nil)
	db, err := sql.Open("sqlite", filepath.Join(dir, "control.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(string(read("control.sql"))); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
