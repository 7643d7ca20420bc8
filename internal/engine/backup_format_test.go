package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// engineArchive is a volume as the engine's API gives it.
func engineArchive(t testing.TB, dir string, files map[string]string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, content string) {
		t.Helper()
		h.Uid, h.Gid, h.ModTime, h.Size = 10001, 10001, time.Unix(1_800_000_000, 123), int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o700}, "")
	for name, content := range files {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + name, Mode: 0o640}, content)
	}
	add(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir + "/link", Linkname: "/etc/shadow"}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func sampleBackup(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newBackupWriter(&b, BackupHeader{
		Version: "1.2.3", Instance: "press", Time: time.Unix(1_800_000_000, 0).UTC(), Spec: &spec.Instance{Name: "press", Version: "1.2.3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for volume, files := range map[string]map[string]string{
		"control": {"control.db": strings.Repeat("row;", 5000)}, "secrets": {"admin-password": "a secret"},
	} {
		left, err := w.addVolume(volume, engineArchive(t, volume, files))
		if err != nil || len(left) != 1 || left[0] != "link" {
			t.Fatalf("left out %v, %v", left, err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ignoreEntry(string, string, *tar.Header, io.Reader) error { return nil }

// listing renders what a backup holds, with the content of each file.
func listing(backup []byte) (string, error) {
	var b strings.Builder
	h, volumes, err := readBackup(bytes.NewReader(backup), func(volume, name string, h *tar.Header, content io.Reader) error {
		text, err := io.ReadAll(content)
		fmt.Fprintf(&b, "%s %q %o %d:%d %s %.10s\n", volume, name, h.Mode, h.Uid, h.Gid, h.ModTime.UTC().Format(time.RFC3339), text)
		return err
	})
	fmt.Fprintf(&b, "%s %s %s %d volumes", h.Instance, h.Version, h.Spec.Name, len(volumes))
	return b.String(), err
}

func TestBackupIsReadAsWritten(t *testing.T) {
	got, err := listing(sampleBackup(t))
	if err != nil {
		t.Fatal(err)
	}
	has(t, got, `control "" 700 10001:10001 2027-01-15T08:00:00Z`, `control "control.db" 640 10001:10001 2027-01-15T08:00:00Z row;row;ro`,
		`secrets "admin-password" 640 10001:10001 2027-01-15T08:00:00Z a secret`, "press 1.2.3 press 2 volumes")
	if strings.Contains(got, "link") {
		t.Errorf("a link is in it:\n%s", got)
	}
}

// Whatever byte is wrong, and wherever it is cut off, a backup is refused, or, where the byte
// says nothing, read as it was.
func TestDamagedBackup(t *testing.T) {
	whole := sampleBackup(t)
	want, err := listing(whole)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x10
		got, err := listingOf(damaged)
		switch {
		case err == nil && got != want:
			t.Errorf("byte %d of %d is wrong, and another backup is read", at, len(whole))
		case err != nil && spec.KindOf(err) != spec.Invalid:
			t.Errorf("byte %d: %v", at, err)
		}
		if _, _, err := readBackup(bytes.NewReader(whole[:at]), ignoreEntry); spec.KindOf(err) != spec.Invalid {
			t.Errorf("cut off at %d of %d: %v", at, len(whole), err)
		}
	}
	if _, _, err := readBackup(bytes.NewReader(append(bytes.Clone(whole), 'x')), ignoreEntry); spec.KindOf(err) != spec.Invalid {
		t.Errorf("something follows: %v", err)
	}
}

// listingOf is listing where the header may not have been read.
func listingOf(backup []byte) (string, error) {
	if _, _, err := readBackup(bytes.NewReader(backup), ignoreEntry); err != nil {
		return "", err
	}
	return listing(backup)
}

// packed is an archive of the entries, in their order.
func packed(t *testing.T, entries ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for i := 0; i < len(entries); i += 2 {
		h, ok := entries[i].(*tar.Header)
		if !ok {
			h = &tar.Header{Typeflag: tar.TypeReg, Name: entries[i].(string), Mode: 0o600}
		}
		text, ok := entries[i+1].(string)
		if !ok {
			b, err := json.Marshal(entries[i+1])
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		h.Size = int64(len(text))
		if h.Typeflag != tar.TypeReg {
			h.Size, text = 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestForeignArchives(t *testing.T) {
	header := BackupHeader{Kind: backupKind, Format: backupFormat, Version: "1.2.3"}
	newer := header
	newer.Format, newer.Version = backupFormat+1, "9.0.0"
	entry := func(name string, kind byte, mode int64) *tar.Header {
		return &tar.Header{Typeflag: kind, Name: name, Mode: mode, Linkname: "x"}
	}
	for name, c := range map[string]struct {
		backup []byte
		want   string
	}{
		"nothing":            {nil, "it is no backup of an instance"},
		"not compressed":     {[]byte("PK\x03\x04 and more of that"), "it is no backup of an instance"},
		"another archive":    {packed(t, "manifest.json", "[]"), "it is no backup of an instance"},
		"another kind":       {packed(t, "backup.json", `{"kind":"else"}`), "it is no backup of an instance"},
		"no JSON":            {packed(t, "backup.json", `kind`), "it is no backup of an instance"},
		"a newer format":     {packed(t, "backup.json", newer), `its format is 2, written by version "9.0.0", and this release knows 1`},
		"no manifest":        {packed(t, "backup.json", header), "it is damaged: it has no end"},
		"another manifest":   {packed(t, "backup.json", header, "manifest.json", "{}"), "its checksums do not agree"},
		"outside":            {packed(t, "backup.json", header, "volumes/control/../../x", "x"), "does not belong into it"},
		"absolute":           {packed(t, "backup.json", header, "/volumes/control/x", "x"), "does not belong into it"},
		"beside the volumes": {packed(t, "backup.json", header, "x", "x"), "does not belong into it"},
		"strange volume":     {packed(t, "backup.json", header, "volumes/../x", "x"), "does not belong into it"},
		"link":               {packed(t, "backup.json", header, entry("volumes/a/x", tar.TypeSymlink, 0o777), ""), "neither a plain file nor a directory"},
		"device":             {packed(t, "backup.json", header, entry("volumes/a/x", tar.TypeBlock, 0o600), ""), "neither a plain file nor a directory"},
		"set user id":        {packed(t, "backup.json", header, entry("volumes/a/x", tar.TypeReg, 0o4755), ""), "neither a plain file nor a directory"},
		"a file as volume":   {packed(t, "backup.json", header, entry("volumes/a", tar.TypeReg, 0o600), ""), "neither a plain file nor a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readBackup(bytes.NewReader(c.backup), ignoreEntry)
			if spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzReadBackup(f *testing.F) {
	f.Add(sampleBackup(f))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, backup []byte) {
		if _, _, err := readBackup(bytes.NewReader(backup), ignoreEntry); err != nil && spec.KindOf(err) != spec.Invalid {
			t.Error(err)
		}
	})
}

// randomText does not get smaller when it is compressed, or not much.
func randomText(size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(rand.Text())
	}
	return b.String()[:size]
}

// A foreign backup may say more of its files than ours do: extended attributes give a program
// rights on the engine's host. They do not come into the volumes.
func TestBackupUnpacksNoAttributes(t *testing.T) {
	var backup bytes.Buffer
	zip := gzip.NewWriter(&backup)
	from, to := tar.NewReader(mustUnzip(t, sampleBackup(t))), tar.NewWriter(zip)
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && strings.HasSuffix(h.Name, "control.db") {
			h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.security.capability": "everything"}
		}
		if err == nil {
			err = to.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(to.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	var given bytes.Buffer
	files, met := tar.NewWriter(&given), false
	_, _, err := readBackup(&backup, func(volume, name string, h *tar.Header, content io.Reader) error {
		met = met || h.PAXRecords["SCHILY.xattr.security.capability"] != ""
		if err := files.WriteHeader(unpacked(volume, name, h)); err != nil {
			return err
		}
		_, err := io.Copy(files, content)
		return err
	})
	if err != nil || !met || strings.Contains(given.String(), "capability") {
		t.Errorf("%v; the attributes were in the backup: %v; they come into the volumes: %v", err, met, strings.Contains(given.String(), "capability"))
	}
}

func mustUnzip(t testing.TB, content []byte) io.Reader {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
