package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The two files that ansible-galaxy puts into every collection: what it is, and its files
// with their checksums. The first has the checksum of the second.
const (
	manifestFile = "MANIFEST.json"
	listFile     = "FILES.json"
)

// member is one file, folder or link of an archive.
type member struct {
	header  *tar.Header
	content []byte
}

// Collection writes an Ansible collection again as ansible-galaxy built it, but for the order
// of its files, which is that of the file system, and their times.
func Collection(w io.Writer, r io.Reader, at time.Time) error {
	members, err := membersOf(r)
	if err != nil {
		return fmt.Errorf("cannot read the collection: %w", err)
	}
	list, manifest := find(members, listFile), find(members, manifestFile)
	if list == nil || manifest == nil {
		return fmt.Errorf("cannot read the collection: %s or %s is missing", manifestFile, listFile)
	}
	before := sha256.Sum256(list.content)
	if list.content, err = sorted(list.content); err != nil {
		return fmt.Errorf("cannot read %s: %w", listFile, err)
	}
	after := sha256.Sum256(list.content)
	was := fmt.Appendf(nil, "%x", before)
	if bytes.Count(manifest.content, was) != 1 {
		return fmt.Errorf("cannot read %s: it does not name the checksum of %s", manifestFile, listFile)
	}
	manifest.content = bytes.Replace(manifest.content, was, fmt.Appendf(nil, "%x", after), 1)
	slices.SortFunc(members, func(a, b *member) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.header.Name, b.header.Name))
	})
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression) // Galaxy takes 20 MB
	if err != nil {
		return err
	}
	return errors.Join(write(tar.NewWriter(packed), members, at), packed.Close())
}

// rank lets the two files that say what follows go first.
func rank(m *member) int {
	i := slices.Index([]string{manifestFile, listFile}, m.header.Name)
	if i < 0 {
		return 2
	}
	return i
}

func membersOf(r io.Reader) ([]*member, error) {
	unpacked, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var members []*member
	for t := tar.NewReader(unpacked); ; {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		members = append(members, &member{header, content})
	}
}

func find(members []*member, name string) *member {
	i := slices.IndexFunc(members, func(m *member) bool { return m.header.Name == name })
	if i < 0 {
		return nil
	}
	return members[i]
}

// sorted puts the entries of FILES.json in the order of their names; each stays as it is.
func sorted(text []byte) ([]byte, error) {
	var list struct {
		Files  []json.RawMessage `json:"files"`
		Format json.RawMessage   `json:"format"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, entry := range list.Files {
		var named struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(entry, &named); err != nil {
			return nil, err
		}
		names[string(entry)] = named.Name
	}
	slices.SortFunc(list.Files, func(a, b json.RawMessage) int { return strings.Compare(names[string(a)], names[string(b)]) })
	return json.MarshalIndent(list, "", " ")
}

func write(t *tar.Writer, members []*member, at time.Time) error {
	for _, m := range members {
		header := &tar.Header{
			Name: m.header.Name, Linkname: m.header.Linkname, Typeflag: m.header.Typeflag, Mode: m.header.Mode,
			Size: int64(len(m.content)), ModTime: at, Format: tar.FormatPAX,
		}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(m.content); err != nil {
			return err
		}
	}
	return t.Close()
}
