package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func files(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o700, "image": 0o600, "docs/b.md": 0o640, "docs/a/a.md": 0o600} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Version: "1.2.3", Platform: "linux/arm64", Time: time.Unix(1e9, 0)}
	for _, given := range [][2]string{
		{"millwright", "program"}, {"images/i_arm64.tar.gz", "image"}, {"images/i_amd64.tar.gz", "image"}, {"ansible/c.tar.gz", "image"}, {"docs", "docs"},
	} {
		found, err := Tree(given[0], filepath.Join(dir, given[1]))
		if err != nil {
			t.Fatal(err)
		}
		o.Files = append(o.Files, found...)
	}
	return o
}

func unpack(t *testing.T, packed []byte) (names []string, contents map[string]string) {
	t.Helper()
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	contents = map[string]string{}
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || h.Uid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%+v, %v", h, err)
		}
		names = append(names, fmt.Sprintf("%o %s", h.Mode, h.Name))
		contents[h.Name] = string(text)
	}
}

func TestBundle(t *testing.T) {
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := Write(w, files(t)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("equal files give another archive")
	}
	names, contents := unpack(t, first.Bytes())
	const folder = "millwright-bundle_1.2.3_linux_arm64/"
	want := []string{
		"644 INSTALL.md", "644 ansible/c.tar.gz", "644 docs/a/a.md", "644 docs/b.md", "644 images/i_amd64.tar.gz", "644 images/i_arm64.tar.gz", "755 millwright", "644 SHA256SUMS",
	}
	if got := strings.ReplaceAll(strings.Join(names, "\n"), folder, ""); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	sums := contents[folder+sumsFile]
	if strings.Count(sums, "\n") != len(want)-1 {
		t.Errorf("the sums are\n%s", sums)
	}
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if sum != fmt.Sprintf("%x", sha256.Sum256([]byte(contents[folder+name]))) {
			t.Errorf("%s has another sum", name)
		}
	}
	page := contents[folder+installFile]
	if !strings.Contains(page, "image load images/i_arm64.tar.gz") || strings.Contains(page, "terraform") || strings.Contains(page, "{{") {
		t.Errorf("the page is\n%s", page)
	}
}

func TestBundleRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no image":   func(o *Options) { o.Files = o.Files[:1] },
		"twice":      func(o *Options) { o.Files = append(o.Files, o.Files[0]) },
		"own name":   func(o *Options) { o.Files[len(o.Files)-1].Name = sumsFile },
		"not there":  func(o *Options) { o.Files[0].Path += ".absent" },
		"no program": func(o *Options) { o.Files = o.Files[1:] },
	} {
		o := files(t)
		change(&o)
		if err := Write(io.Discard, o); err == nil || !strings.HasPrefix(err.Error(), "cannot pack") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "device")); err != nil {
		t.Fatal(err)
	}
	if _, err := Tree("x", dir); err == nil {
		t.Error("a device was packed")
	}
}

// collection is as ansible-galaxy builds it, with its files in some order.
func collection(t *testing.T, names ...string) []byte {
	t.Helper()
	type entry struct {
		Name   string  `json:"name"`
		FType  string  `json:"ftype"`
		Sum    *string `json:"chksum_sha256"`
		Format int     `json:"format"`
	}
	var entries []entry
	for _, name := range names {
		entries = append(entries, entry{Name: name, FType: "file", Format: 1})
	}
	list, err := json.MarshalIndent(map[string]any{"files": entries, "format": 1}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`{"file_manifest_file": {"chksum_sha256": "%x"}}`, sha256.Sum256(list))
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	add := func(h tar.Header, text string) {
		h.Size, h.Mode, h.ModTime = int64(len(text)), 0o644, time.Now()
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: manifestFile}, manifest)
	add(tar.Header{Name: listFile}, string(list))
	for _, name := range names {
		add(tar.Header{Name: name}, "of "+name)
	}
	add(tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "a"}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCollection(t *testing.T) {
	var first, second bytes.Buffer
	for w, built := range map[*bytes.Buffer][]byte{&first: collection(t, "b", "a", "c"), &second: collection(t, "c", "b", "a")} {
		if err := Collection(w, bytes.NewReader(built), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the order of files gives another archive")
	}
	names, contents := unpack(t, first.Bytes())
	if got := strings.Join(names, ", "); got != "644 MANIFEST.json, 644 FILES.json, 644 a, 644 b, 644 c, 644 link" {
		t.Errorf("got %s", got)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(contents[listFile]))); !strings.Contains(contents[manifestFile], sum) {
		t.Errorf("the manifest does not name the sum %s of the list: %s", sum, contents[manifestFile])
	}
	if !strings.Contains(contents[listFile], `"chksum_sha256": null`) || strings.Index(contents[listFile], `"a"`) > strings.Index(contents[listFile], `"b"`) {
		t.Errorf("the list is %s", contents[listFile])
	}
	if err := Collection(io.Discard, strings.NewReader("no archive"), time.Time{}); err == nil {
		t.Error("what is no archive was taken")
	}
}
