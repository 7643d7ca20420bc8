package deployer

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// timezone is the host's, by its name in the time zone database: TZ, else the file timezone, else
// where the link localtime leads, both in etc. A host that says nothing usable has UTC.
func timezone(getenv func(string) string, etc string) string {
	candidates := []string{strings.TrimPrefix(getenv("TZ"), ":")}
	if text, err := os.ReadFile(filepath.Join(etc, "timezone")); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(text)))
	}
	if target, err := os.Readlink(filepath.Join(etc, "localtime")); err == nil {
		if _, name, ok := strings.Cut(target, "/zoneinfo/"); ok {
			candidates = append(candidates, name)
		}
	}
	for _, name := range candidates {
		if _, err := time.LoadLocation(name); err == nil && name != "" && name != "Local" && !filepath.IsAbs(name) {
			return name
		}
	}
	return "UTC"
}
