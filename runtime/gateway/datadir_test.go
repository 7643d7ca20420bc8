package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

func TestDataDirIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	first, err := openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	key := bytes.Clone(first.key)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := openDataDir(path, "1.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key, second.key) {
		t.Error("the key changed")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"secrets.key": 0o600, "format.json": 0o600, "pki": 0o700 | os.ModeDir} {
		if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestDataDirRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"newer major":  {replace("format.json", `{"major": 2, "minor": 0, "written_by": "2.3.4"}`), "2.3.4"},
		"older major":  {replace("format.json", `{"major": 0, "minor": 9, "written_by": "0.0.1"}`), "0.0.1"},
		"no format":    {replace("format.json", "nonsense"), "format.json"},
		"key cut off":  {replace("secrets.key", "short"), "secrets.key"},
		"not a folder": {func(path string) error { return os.RemoveAll(path) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data")
			d, err := openDataDir(path, "1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
			if name == "not a folder" {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d, err = openDataDir(path, "1.0.0")
			if err == nil {
				t.Fatal("it was opened", d.Close())
			}
			if spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%s)", err, spec.KindOf(err))
			}
		})
	}
}

func TestDataDirIsNotMadeAmongOtherThings(t *testing.T) {
	for name, ok := range map[string]bool{
		"LOCK": true, "lost+found": true, "format.json.1234.tmp": true,
		"letter.txt": false, "control.db": false, "letter.1.tmp": false,
	} {
		path := t.TempDir()
		if err := replace(name, "")(path); err != nil {
			t.Fatal(err)
		}
		d, err := openDataDir(path, "1.0.0")
		if ok != (err == nil) {
			t.Errorf("beside %q: %v", name, err)
		}
		if err == nil {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		entries, listErr := os.ReadDir(path)
		if spec.KindOf(err) != spec.Invalid || len(entries) != 1 || listErr != nil {
			t.Errorf("beside %q: %v; left %v, %v", name, err, entries, listErr)
		}
	}
}

func replace(name, content string) func(string) error {
	return func(path string) error { return os.WriteFile(filepath.Join(path, name), []byte(content), 0o600) }
}

func TestDataDirNewerMinorIsOpened(t *testing.T) {
	path := t.TempDir()
	if err := replace("format.json", `{"major": 1, "minor": 99, "written_by": "1.99.0", "new_field": true}`)(path); err != nil {
		t.Fatal(err)
	}
	d, err := openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDataDirLockNamesTheOther(t *testing.T) {
	path := t.TempDir()
	d, err := openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(path, "1.0.0"); spec.KindOf(err) != spec.Conflict || !strings.Contains(err.Error(), "process") {
		t.Errorf("got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestClientCertificateIsMadeOnceAndKept(t *testing.T) {
	path := t.TempDir()
	var first spec.CertificateView
	for range 2 {
		d, err := openDataDir(path, "1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		v, err := newClientCertificate(d).view()
		if err != nil {
			t.Fatal(err)
		}
		if first.PEM == "" {
			first = v
		}
		if v != first || v.ApplicationURI == "" || !strings.HasPrefix(v.Fingerprint, "SHA256:") || strings.Contains(v.PEM, "PRIVATE") {
			t.Errorf("got %+v, first %+v", v, first)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := replace(clientCertificateFile, "nonsense")(path); err != nil {
		t.Fatal(err)
	}
	d, err := openDataDir(path, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newClientCertificate(d).view(); err == nil || !strings.Contains(err.Error(), "opcua-client.pem") {
		t.Errorf("a broken certificate gave %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// The image says by render.DataFormat which releases can use what another one left.
func TestDataFormatNamesTheMajor(t *testing.T) {
	if major, _, _ := strings.Cut(render.DataFormat, "."); major != strconv.Itoa(formatMajor) {
		t.Errorf("the major is %d, and render.DataFormat is %q", formatMajor, render.DataFormat)
	}
}
