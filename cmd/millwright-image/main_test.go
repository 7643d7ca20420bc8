package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpack reads a tar archive's files by their names, and their headers.
func unpack(t *testing.T, r io.Reader) (map[string][]byte, map[string]*tar.Header) {
	t.Helper()
	content, headers := map[string][]byte{}, map[string]*tar.Header{}
	for files := tar.NewReader(r); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return content, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		content[header.Name], headers[header.Name] = text, header
	}
}

// The archive has one image for the architecture that was asked for, with the labels of the OCI
// image specification, for a user without rights who owns nothing but the data.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	program, roots, out := filepath.Join(dir, "program"), filepath.Join(dir, "roots.pem"), filepath.Join(dir, "image.tar.gz")
	for file, text := range map[string]string{program: "a program", roots: "authorities"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		err := run([]string{"--program", program, "--roots", roots, "--arch", arch, "--version", "1.2.3", "--revision", "abc", "--out", out},
			func(string) string { return "1700000000" })
		if err != nil {
			t.Fatal(err)
		}
		packed, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		archive, _ := unpack(t, plain)
		var manifest []struct {
			Config           string
			RepoTags, Layers []string
		}
		if err := json.Unmarshal(archive["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 || manifest[0].RepoTags[0] != "millwright/millwright:1.2.3" {
			t.Fatalf("%s, %v", archive["manifest.json"], err)
		}
		var image struct {
			Architecture, OS string
			Config           struct {
				User   string
				Labels map[string]string
			}
		}
		if err := json.Unmarshal(archive[manifest[0].Config], &image); err != nil {
			t.Fatal(err)
		}
		if image.Architecture != arch || image.OS != "linux" || image.Config.User != "10001:10001" {
			t.Errorf("got %+v", image)
		}
		for label, want := range map[string]string{"version": "1.2.3", "revision": "abc", "created": "2023-11-14T22:13:20Z", "licenses": "Apache-2.0"} {
			if got := image.Config.Labels["org.opencontainers.image."+label]; got != want {
				t.Errorf("label %s: got %q, want %q", label, got, want)
			}
		}
		_, headers := unpack(t, bytes.NewReader(archive[manifest[0].Layers[0]]))
		for name, h := range headers {
			if (h.Uid != 0) != (name == "data/" || name == "run/millwright/secrets/") {
				t.Errorf("%s belongs to %d", name, h.Uid)
			}
			if h.Mode&0o6000 != 0 || h.Mode&0o002 != 0 && name != "tmp/" {
				t.Errorf("%s has the mode %o", name, h.Mode)
			}
		}
		if h := headers["millwright-runtime"]; h == nil || h.Mode != 0o755 {
			t.Errorf("the program: %+v", h)
		}
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	small, large := filepath.Join(dir, "small"), filepath.Join(dir, "large")
	if err := os.WriteFile(small, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxImage); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"and may have":                     {"--program", large, "--roots", small},
		"no such file":                     {"--program", filepath.Join(dir, "none")},
		"cannot read the certificate auth": {"--program", small, "--roots", filepath.Join(dir, "none")},
		"arch is amd64 or arm64":           {"--arch", "riscv64"},
		"SOURCE_DATE_EPOCH":                {"--program", small, "--roots", small, "--version", "1.0.0"},
	} {
		if err := run(append(args, "--out", filepath.Join(dir, "out")), func(string) string { return "yesterday" }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v", args, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("an image was written")
	}
}
