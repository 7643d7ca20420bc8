package image

import (
	"bytes"
	"testing"
	"time"
)

// Equal inputs give equal bytes, another program another image.
func TestWriteIsDeterministic(t *testing.T) {
	options := Options{
		Tag: "a/b:1", Arch: "arm64", Program: []byte("program"), Roots: []byte("roots"), Created: time.Unix(1, 0),
		Labels: map[string]string{"x": "1", "y": "2"}, Entrypoint: "/program", UserID: 10001, Owned: []string{"/data", "/run/a/b"},
	}
	written := func(o Options) string {
		t.Helper()
		var b bytes.Buffer
		if err := Write(&b, o); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	first := written(options)
	if again := written(options); again != first {
		t.Error("two archives of the same differ")
	}
	other := options
	other.Program = []byte("another")
	if first == written(other) {
		t.Error("archives of different programs are the same")
	}
}
