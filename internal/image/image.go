// Package image writes the runtime's container image as an archive that `docker load` takes:
// one layer over nothing, with the static program, the certificate authorities, and the data
// directory of the user it runs as. It needs no engine and no network, and equal inputs give
// equal bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// Options say what goes into the image.
type Options struct {
	Tag     string    // "millwright/millwright:0.1.0"
	Arch    string    // "amd64", "arm64"; the system is always linux
	Program []byte    // static; started as Entrypoint
	Roots   []byte    // certificate authorities, PEM
	Created time.Time // of everything in it
	Labels  map[string]string

	Entrypoint string   // the program's path in the image
	UserID     int      // user and group that it runs as
	Owned      []string // directories of that user; a new volume mounted there takes the owner over
}

// Write writes the archive.
func Write(w io.Writer, o Options) error {
	layer, err := o.layer()
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot pack the image's files: %w", err)
	}
	diff := digest(layer)
	config, err := json.Marshal(o.config(diff))
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write the image's configuration: %w", err)
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": digest(config) + ".json", "RepoTags": []string{o.Tag}, "Layers": []string{diff + "/layer.tar"},
	}})
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write the image's manifest: %w", err)
	}
	archive := files{Writer: tar.NewWriter(w), at: o.Created}
	archive.dir(diff, 0, 0o755)
	archive.file(diff+"/layer.tar", layer, 0o644)
	archive.file(digest(config)+".json", config, 0o644)
	archive.file("manifest.json", manifest, 0o644)
	if err := archive.end(); err != nil {
		return spec.Errorf(spec.Unavailable, "cannot write the image: %w", err)
	}
	return nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (o Options) config(diff string) map[string]any {
	id := strconv.Itoa(o.UserID)
	return map[string]any{
		"architecture": o.Arch,
		"os":           "linux",
		"created":      o.Created.UTC().Format(time.RFC3339),
		"config": map[string]any{
			"User":       id + ":" + id,
			"Env":        []string{"PATH=/", "HOME=" + o.Owned[0]},
			"Entrypoint": []string{o.Entrypoint},
			"WorkingDir": o.Owned[0],
			"Labels":     o.Labels,
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + diff}},
		"history": []map[string]any{{"created": o.Created.UTC().Format(time.RFC3339), "created_by": "make image"}},
	}
}

func (o Options) layer() ([]byte, error) {
	var b bytes.Buffer
	id := strconv.Itoa(o.UserID)
	root := files{Writer: tar.NewWriter(&b), at: o.Created}
	for _, dir := range []string{"etc", "etc/ssl", "etc/ssl/certs"} {
		root.dir(dir, 0, 0o755)
	}
	root.file("etc/passwd", []byte("root:x:0:0:root:/:/\nmillwright:x:"+id+":"+id+":Millwright:"+o.Owned[0]+":/\n"), 0o644)
	root.file("etc/group", []byte("root:x:0:\nmillwright:x:"+id+":\n"), 0o644)
	root.file("etc/ssl/certs/ca-certificates.crt", o.Roots, 0o644)
	root.dir("tmp", 0, 0o1777)
	made := map[string]bool{}
	for _, dir := range o.Owned {
		root.parents(dir, made)
		root.dir(strings.TrimPrefix(dir, "/"), o.UserID, 0o700)
	}
	root.file(strings.TrimPrefix(o.Entrypoint, "/"), o.Program, 0o755)
	return b.Bytes(), root.end()
}

// files writes entries and remembers the first failure.
type files struct {
	*tar.Writer
	at     time.Time
	failed error
}

func (f *files) entry(h *tar.Header, content []byte) {
	if f.failed != nil {
		return
	}
	h.ModTime, h.Size, h.Format = f.at, int64(len(content)), tar.FormatPAX
	if f.failed = f.WriteHeader(h); f.failed == nil {
		_, f.failed = f.Write(content)
	}
}

func (f *files) dir(name string, owner int, mode int64) {
	f.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (f *files) file(name string, content []byte, mode int64) {
	f.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

// parents makes the directories above dir, once each.
func (f *files) parents(dir string, made map[string]bool) {
	parent := strings.TrimPrefix(path.Dir(dir), "/")
	if parent == "" || made[parent] {
		return
	}
	f.parents("/"+parent, made)
	made[parent] = true
	f.dir(parent, 0, 0o755)
}

func (f *files) end() error {
	if f.failed != nil {
		return f.failed
	}
	return f.Close()
}
