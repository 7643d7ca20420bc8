package client

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// A context may name what the instance's certificate is for, where that is not its URL's host.
func TestServerName(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	dir := t.TempDir()
	config, ca := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, []byte(authority), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"MILLWRIGHT_CONFIG": config}[name] }
	for _, c := range []struct {
		name   string
		caPath string
		alive  bool
	}{
		{"example.com", "", true},
		{"elsewhere.example", "", false},
		{"elsewhere.example", ca, true}, // who gives an authority has it vouch for the URL
	} {
		if err := SaveContextIn(config, "plant", Context{URL: server.URL, CA: authority, ServerName: c.name}); err != nil {
			t.Fatal(err)
		}
		s, _, err := Resolve(Given{CAPath: c.caPath}, getenv)
		if err != nil {
			t.Fatal(err)
		}
		client, err := New(s, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if alive := client.Alive(t.Context()); alive != c.alive {
			t.Errorf("%+v: got %v", c, alive)
		}
		client.Close()
	}
}
