package engine

import (
	"bytes"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/image"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// An image goes from engine to engine as an archive.
func TestForeignImages(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	dir := t.TempDir()
	name := testImage + ":5.0.0"
	names, err := e.LoadImage(t.Context(), archive(t, dir, "5.0.0", "well", runtime.GOARCH))
	if err != nil || !slices.Equal(names, []string{name}) {
		t.Fatalf("got %v, %v", names, err)
	}
	before, err := e.api.ImageInspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := e.SaveImage(t.Context(), name, &saved); err != nil {
		t.Fatal(err)
	}
	if _, err := e.api.ImageRemove(t.Context(), name, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.SaveImage(t.Context(), name, &bytes.Buffer{}); spec.KindOf(err) != spec.NotFound {
		t.Errorf("an image that is not there was saved: %v", err)
	}
	file := filepath.Join(dir, "saved.tar")
	write(t, file, saved.Bytes())
	if _, err := e.LoadImage(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	after, err := e.api.ImageInspect(t.Context(), name)
	if err != nil || after.ID != before.ID || after.Config.User != "10001:10001" {
		t.Errorf("another image came back: %+v, %v", after, err)
	}
	write(t, file, saved.Bytes()[:saved.Len()/2])
	if _, err := e.LoadImage(t.Context(), file); spec.KindOf(err) != spec.Invalid {
		t.Errorf("half an archive was loaded: %v", err)
	}
	if _, err := e.LoadImage(t.Context(), filepath.Join(dir, "none")); spec.KindOf(err) != spec.Invalid {
		t.Errorf("got %v", err)
	}
}
