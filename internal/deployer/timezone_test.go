package deployer

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTimezone(t *testing.T) {
	for name, test := range map[string]struct {
		variable, file, link string
		want                 string
	}{
		"nothing":          {want: "UTC"},
		"variable":         {variable: ":Asia/Tokyo", file: "Europe/Berlin", want: "Asia/Tokyo"},
		"file":             {file: "Europe/Berlin\n", link: "/usr/share/zoneinfo/Asia/Tokyo", want: "Europe/Berlin"},
		"link":             {link: "/usr/share/zoneinfo/Asia/Tokyo", want: "Asia/Tokyo"},
		"link elsewhere":   {link: "/somewhere/else", want: "UTC"},
		"file of nonsense": {file: "Mars/Olympus", want: "UTC"},
		"rule, not a name": {variable: "CET-1CEST", want: "UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(etc, "timezone"), []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.link != "" {
				if err := os.Symlink(test.link, filepath.Join(etc, "localtime")); err != nil {
					t.Fatal(err)
				}
			}
			if got := timezone(func(string) string { return test.variable }, etc); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
