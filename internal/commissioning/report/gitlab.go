package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

type gitlabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitlabLocation `json:"location"`
}

type gitlabLocation struct {
	Path  string      `json:"path"`
	Lines gitlabLines `json:"lines"`
}

type gitlabLines struct {
	Begin int `json:"begin"`
}

// GitLab writes a Code Quality report. A fingerprint holds no line number: a finding stays
// the same one when lines are added above it; equal ones in a file are counted.
func GitLab(w io.Writer, _ []string, ds []spec.Diagnostic) error {
	list := make([]gitlabIssue, 0, len(ds))
	seen := map[string]int{}
	for _, d := range ds {
		path := strings.TrimPrefix(filepath.ToSlash(d.File), "./")
		identity := strings.Join([]string{path, d.Code, d.Message}, "\x00")
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", identity, seen[identity]))
		seen[identity]++
		severity := "minor"
		if d.Severity == spec.SeverityError {
			severity = "major"
		}
		list = append(list, gitlabIssue{
			Description: sentence(d), CheckName: d.Code, Fingerprint: hex.EncodeToString(sum[:]), Severity: severity,
			Location: gitlabLocation{Path: path, Lines: gitlabLines{Begin: max(1, d.Line)}},
		})
	}
	return encode(w, list)
}
