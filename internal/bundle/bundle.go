// Package bundle packs what a plant without internet needs into one archive, and makes archives
// that others built byte for byte repeatable: equal content gives equal bytes, whenever and
// wherever it is packed.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // for the directive below
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// Options say what a bundle holds.
type Options struct {
	Version  string
	Platform string // of the program: "linux/amd64"
	Files    []File
	Time     time.Time // of every file
}

// File is one file of a bundle.
type File struct {
	Name       string // within the bundle, with slashes
	Path       string // where its content lies
	Executable bool
}

// Name of a bundle, of its archive without the ending and of the folder that it unpacks to.
func (o Options) Name() string {
	return "millwright-bundle_" + o.Version + "_" + strings.ReplaceAll(o.Platform, "/", "_")
}

// Tree lists the files below a folder under a name within the bundle; the folder's own name
// says nothing. A file alone is itself. What is neither is an error.
func Tree(name, root string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("cannot pack %q: it is no file", at)
		}
		below, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		files = append(files, File{path.Join(name, filepath.ToSlash(below)), at, info.Mode()&0o100 != 0})
		return nil
	})
	return files, err
}

// The files that a bundle is given here.
const (
	sumsFile    = "SHA256SUMS"
	installFile = "INSTALL.md"
)

// Write packs the files, with their checksums and a page that says what to do with them, as a
// tar archive compressed by gzip.
func Write(w io.Writer, o Options) error {
	page, err := o.install()
	if err != nil {
		return err
	}
	files := slices.Clone(o.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	packed := gzip.NewWriter(w)
	a := archive{tar.NewWriter(packed), o.Name(), o.Time}
	sums := fmt.Sprintf("%x  %s\n", sha256.Sum256(page), installFile)
	if err := a.add(installFile, 0o644, int64(len(page)), bytes.NewReader(page)); err != nil {
		return err
	}
	for i, f := range files {
		if i > 0 && f.Name == files[i-1].Name || f.Name == sumsFile || f.Name == installFile {
			return fmt.Errorf("cannot pack two files named %q", f.Name)
		}
		sum, err := a.addFile(f)
		if err != nil {
			return fmt.Errorf("cannot pack %q: %w", f.Path, err)
		}
		sums += fmt.Sprintf("%x  %s\n", sum, f.Name)
	}
	if err := a.add(sumsFile, 0o644, int64(len(sums)), strings.NewReader(sums)); err != nil {
		return err
	}
	return errors.Join(a.Close(), packed.Close())
}

// archive is a tar archive whose files lie in one folder and are of one time.
type archive struct {
	*tar.Writer
	folder string
	time   time.Time
}

func (a archive) add(name string, mode, size int64, content io.Reader) error {
	header := &tar.Header{Name: a.folder + "/" + name, Mode: mode, Size: size, ModTime: a.time, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := a.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(a, content)
	return err
}

func (a archive) addFile(f File) (sum []byte, err error) {
	content, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer content.Close() //nolint:errcheck // it was only read
	info, err := content.Stat()
	if err != nil {
		return nil, err
	}
	mode := int64(0o644)
	if f.Executable {
		mode = 0o755
	}
	hash := sha256.New()
	err = a.add(f.Name, mode, info.Size(), io.TeeReader(content, hash))
	return hash.Sum(nil), err
}

//go:embed INSTALL.md.tmpl
var installPage string

// install is the page that says what to do with the files that there are.
func (o Options) install() ([]byte, error) {
	t, err := template.New(installFile).Parse(installPage)
	if err != nil {
		return nil, err
	}
	data := struct {
		Version, Platform, Program, Collection, Image string // the image of the platform's architecture, else the first
		Images                                        []string
		Provider                                      bool
	}{Version: o.Version, Platform: o.Platform}
	for _, f := range o.Files {
		switch folder, _, _ := strings.Cut(f.Name, "/"); {
		case folder == "images":
			data.Images = append(data.Images, f.Name)
		case folder == "ansible":
			data.Collection = f.Name
		case folder == "terraform":
			data.Provider = true
		case strings.TrimSuffix(f.Name, ".exe") == "millwright":
			data.Program = f.Name
		}
	}
	slices.Sort(data.Images)
	if data.Program == "" || data.Collection == "" || len(data.Images) == 0 {
		return nil, errors.New("cannot pack a bundle without the program, an image and the collection")
	}
	data.Image = data.Images[0]
	_, arch, _ := strings.Cut(o.Platform, "/")
	if i := slices.IndexFunc(data.Images, func(name string) bool { return strings.Contains(name, "_"+arch+".") }); i >= 0 {
		data.Image = data.Images[i]
	}
	var page bytes.Buffer
	err = t.Execute(&page, data)
	return page.Bytes(), err
}
