package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// A backup is a tar archive, compressed by gzip: backup.json, then the volumes' directories and
// files as volumes/NAME/..., and last manifest.json with the checksums of all before it. What is
// cut off has no manifest.
const (
	backupKind    = "millwright-backup"
	backupFormat  = 1
	headerEntry   = "backup.json"
	manifestEntry = "manifest.json"
	volumesEntry  = "volumes"
	maxDescribing = 4 << 20 // bytes of backup.json and of manifest.json
)

// BackupHeader is what a backup says of itself.
type BackupHeader struct {
	Kind     string    `json:"kind"`
	Format   int       `json:"format"`
	Version  string    `json:"version"` // of the program that wrote it
	Instance string    `json:"instance"`
	Time     time.Time `json:"time"`
	// Spec is what was applied, without secrets; nil: nothing said so.
	Spec *spec.Instance `json:"spec,omitempty"`
}

// backupManifest says what was written before it.
type backupManifest struct {
	Header  string      `json:"header"` // sha256 of backup.json
	Volumes []volumeSum `json:"volumes"`
}

// volumeSum is one volume, by its name without the instance's.
type volumeSum struct {
	Name   string `json:"name"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of each entry's attributes and content
}

// backupWriter writes a backup. Call addVolume for each volume, then close.
type backupWriter struct {
	zip      *gzip.Writer
	tar      *tar.Writer
	manifest backupManifest
	at       time.Time
}

func newBackupWriter(w io.Writer, h BackupHeader) (*backupWriter, error) {
	h.Kind, h.Format = backupKind, backupFormat
	text, err := json.Marshal(h)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot write what the backup is of: %w", err)
	}
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot compress a backup: %w", err)
	}
	b := &backupWriter{zip: zip, tar: tar.NewWriter(zip), at: h.Time}
	b.manifest.Header = hexSum(sha256.Sum256(text))
	return b, b.describe(headerEntry, text)
}

func hexSum(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

func (b *backupWriter) describe(name string, text []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: b.at, Format: tar.FormatPAX}
	if err := b.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := b.tar.Write(text)
	return err
}

// addVolume takes a volume over from the engine's archive of it, whose names begin with the
// directory's. It returns the names of what is neither a directory nor a file, which is left out:
// the runtime makes nothing else.
func (b *backupWriter) addVolume(name string, from io.Reader) (left []string, err error) {
	sum := newEntrySum(name)
	for files := tar.NewReader(from); ; {
		have, err := files.Next()
		if errors.Is(err, io.EOF) {
			b.manifest.Volumes = append(b.manifest.Volumes, sum.done())
			return left, nil
		}
		if err != nil {
			return left, err
		}
		_, rel, _ := strings.Cut(strings.TrimSuffix(have.Name, "/"), "/")
		if have.Typeflag != tar.TypeDir && have.Typeflag != tar.TypeReg {
			left = append(left, rel)
			continue
		}
		h := &tar.Header{
			Typeflag: have.Typeflag, Name: path.Join(volumesEntry, name, rel), Mode: have.Mode & 0o777,
			Uid: have.Uid, Gid: have.Gid, Size: have.Size, ModTime: have.ModTime.Round(time.Second), Format: tar.FormatPAX,
		}
		if err := b.tar.WriteHeader(h); err != nil {
			return left, err
		}
		sum.begin(h)
		if _, err := io.Copy(b.tar, io.TeeReader(files, sum)); err != nil {
			return left, err
		}
	}
}

// close writes the manifest and what is left of the compressed stream.
func (b *backupWriter) close() error {
	text, err := json.Marshal(b.manifest)
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write the backup's manifest: %w", err)
	}
	return errors.Join(b.describe(manifestEntry, text), b.tar.Close(), b.zip.Close())
}

// entrySum is the checksum of a volume's entries, as they are written and as they are read.
type entrySum struct {
	volumeSum
	hash hash.Hash
}

func newEntrySum(name string) *entrySum {
	return &entrySum{volumeSum: volumeSum{Name: name}, hash: sha256.New()}
}

// begin takes an entry's attributes in; its content is written to the sum.
func (s *entrySum) begin(h *tar.Header) {
	fmt.Fprintf(s.hash, "%q %c %o %d:%d %d %d\n", strings.TrimSuffix(h.Name, "/"), h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.Unix())
	s.Files++
}

// Write takes content in.
func (s *entrySum) Write(content []byte) (int, error) {
	s.Bytes += int64(len(content))
	return s.hash.Write(content)
}

func (s *entrySum) done() volumeSum {
	s.SHA256 = hex.EncodeToString(s.hash.Sum(nil))
	return s.volumeSum
}

// backupEntry is told of each directory and file of a backup, by the volume and the name in it,
// "" for the volume's own directory.
type backupEntry func(volume, name string, h *tar.Header, content io.Reader) error

// readBackup reads a backup to its end and compares it with its own manifest. The error is of
// kind invalid where that is no whole backup that this release knows, else the entry's.
func readBackup(r io.Reader, entry backupEntry) (BackupHeader, []volumeSum, error) {
	b := &backupReader{entry: entry}
	err := b.read(r)
	var known *spec.Error
	if err != nil && !errors.As(err, &known) {
		err = spec.Errorf(spec.Invalid, "it is damaged: %w", err)
	}
	return b.header, b.found.Volumes, err
}

type backupReader struct {
	entry  backupEntry
	header BackupHeader
	found  backupManifest
	volume *entrySum
	ended  bool
}

func (b *backupReader) read(r io.Reader) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return errNoBackup()
	}
	files := tar.NewReader(zip)
	if err := b.readHeader(files); err != nil {
		return err
	}
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return whole(err)
		}
		if err := b.next(h, files); err != nil {
			return whole(err)
		}
	}
	if !b.ended {
		return errors.New("it has no end")
	}
	_, err = io.Copy(io.Discard, zip) // to its own checksum
	return whole(err)
}

// whole says in words that the end is missing.
func whole(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("it has no end")
	}
	return err
}

func errNoBackup() error {
	return spec.Errorf(spec.Invalid, "it is no backup of an instance").WithHint("`millwright backup` writes one")
}

func (b *backupReader) readHeader(files *tar.Reader) error {
	h, err := files.Next()
	if err != nil || h.Name != headerEntry {
		return errNoBackup()
	}
	text, err := readDescribing(files)
	if err != nil {
		return whole(err)
	}
	var kind struct {
		Kind   string `json:"kind"`
		Format int    `json:"format"`
		By     string `json:"version"`
	}
	if err := json.Unmarshal(text, &kind); err != nil || kind.Kind != backupKind {
		return errNoBackup()
	}
	if kind.Format > backupFormat {
		return spec.Errorf(spec.Invalid, "its format is %d, written by version %q, and this release knows %d", kind.Format, kind.By, backupFormat).
			WithHint("restore it with that version, or a newer one")
	}
	b.found.Header = hexSum(sha256.Sum256(text))
	return json.Unmarshal(text, &b.header)
}

func readDescribing(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDescribing+1))
	if err == nil && len(text) > maxDescribing {
		err = fmt.Errorf("what describes it has more than %d bytes", maxDescribing)
	}
	return text, err
}

func (b *backupReader) next(h *tar.Header, content io.Reader) error {
	if b.ended {
		return fmt.Errorf("%q comes behind its end", h.Name)
	}
	if h.Name == manifestEntry {
		return b.readManifest(content)
	}
	volume, name, err := checkEntry(h)
	if err != nil {
		return err
	}
	if b.volume == nil || b.volume.Name != volume {
		b.endVolume()
		b.volume = newEntrySum(volume)
	}
	b.volume.begin(h)
	summed := io.TeeReader(content, b.volume)
	if err := b.entry(volume, name, h, summed); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, summed)
	return err
}

func (b *backupReader) endVolume() {
	if b.volume != nil {
		b.found.Volumes = append(b.found.Volumes, b.volume.done())
		b.volume = nil
	}
}

var volumeEntryName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// checkEntry refuses what a backup does not hold, so that a foreign one cannot put anything
// beside the volumes.
func checkEntry(h *tar.Header) (volume, name string, err error) {
	clean := strings.TrimSuffix(h.Name, "/")
	top, rest, _ := strings.Cut(clean, "/")
	volume, name, _ = strings.Cut(rest, "/")
	isFile, isDir := h.Typeflag == tar.TypeReg && name != "", h.Typeflag == tar.TypeDir
	switch {
	case top != volumesEntry || !volumeEntryName.MatchString(volume) || !fs.ValidPath(clean):
		return "", "", fmt.Errorf("%q does not belong into it", h.Name)
	case !isFile && !isDir || h.Mode&^0o777 != 0 || h.Uid < 0 || h.Gid < 0:
		return "", "", fmt.Errorf("%q is neither a plain file nor a directory", h.Name)
	}
	return volume, name, nil
}

func (b *backupReader) readManifest(content io.Reader) error {
	b.endVolume()
	text, err := readDescribing(content)
	if err != nil {
		return err
	}
	want, err := json.Marshal(b.found)
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot compare the backup with its manifest: %w", err)
	}
	if !bytes.Equal(want, text) {
		return errors.New("its checksums do not agree")
	}
	b.ended = true
	return nil
}
