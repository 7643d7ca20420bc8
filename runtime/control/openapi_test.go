package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The description of the API in the docs is the one that is served; refresh it with
// make generate.
func TestGeneratedOpenAPI(t *testing.T) {
	i := start(t, func(o *Options) {
		o.Version = "1.0.0"
		o.Certificate = func() (spec.CertificateView, error) { return spec.CertificateView{}, nil }
		o.Authority = newAuthority(t)
	})
	var got bytes.Buffer
	if err := json.Indent(&got, openAPI(i).body, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	file := filepath.Join("..", "..", "docs", "reference", "openapi.json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(want, got.Bytes()) {
		t.Errorf("%s is out of date (%v): refresh it with -update", file, err)
	}
	if yaml := i.do("GET", "/api/v1/openapi.yaml", "", nil).want(200); !strings.Contains(string(yaml.body), "openapi: 3.1") {
		t.Errorf("the YAML form begins with %.100s", yaml.body)
	}
	if strings.Contains(got.String(), "ErrorModel") {
		t.Error("the description has a form of errors that is never sent")
	}
}
