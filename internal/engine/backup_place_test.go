package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A clock that has gone back, or is another controller's, makes the new backup look older than
// those that are there: it stays all the same.
func TestBackupStaysWhenTheClockHasGoneBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	var last string
	for _, hours := range []int{10, 11, 12, 0, 1} {
		at := now.Add(time.Duration(hours) * time.Hour)
		saved := Saved{Instance: "press", Time: at}
		to, err := openDir(BackupOptions{Instance: "press", Dir: dir}, at)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.commit(t.Context(), &saved); err != nil {
			t.Fatal(err)
		}
		last = saved.File
		if _, err := os.Stat(last); err != nil {
			t.Errorf("the backup of %s is gone: %v", at, err)
		}
	}
	names, err := backupsIn(dir, "press")
	if err != nil || len(names) != keptBackups || filepath.Join(dir, names[0]) != last {
		t.Errorf("kept %v, %v", names, err)
	}
}

// What a killed backup has left goes, and nothing of anybody else.
func TestBackupRemovesItsOwnPartsOnly(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"b.123.tmp", "b.tar.notes.tmp", "bread.12.tmp", "b.12.tmp.txt", "b.x.tmp",
		"a_20261123T041300.000Z.tar.gz.9.tmp", "a_b_20261123T041300.000Z.tar.gz.9.tmp", "a_list.9.tmp",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []BackupOptions{{Instance: "x", File: filepath.Join(dir, "b")}, {Instance: "a", Dir: dir}} {
		to, err := (*Engine)(nil).openPlace(o, time.Now(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := to.abort(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, entry := range entries {
		left[entry.Name()] = true
	}
	if len(left) != 6 || left["b.123.tmp"] || left["a_20261123T041300.000Z.tar.gz.9.tmp"] {
		t.Errorf("left %v", left)
	}
}
