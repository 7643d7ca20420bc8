// Package report writes diagnostics in the forms that people, editors and merge requests
// read: text, JSON, SARIF 2.1.0, JUnit XML and GitLab's Code Quality.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// Text writes one line for each diagnostic and a line that counts them.
func Text(w io.Writer, files []string, ds []spec.Diagnostic) error {
	var out strings.Builder
	failures, warnings := 0, 0
	for _, d := range ds {
		if d.Severity == spec.SeverityError {
			failures++
		} else {
			warnings++
		}
		fmt.Fprintln(&out, printable(fmt.Sprintf("%s: %s: %s [%s]", d.Position, d.Severity, d.Message, d.Code)))
		if d.Hint != "" {
			fmt.Fprintln(&out, "    "+printable(d.Hint))
		}
	}
	fmt.Fprintf(&out, "%s, %s, %s\n", plural(len(files), "file"), plural(failures, "error"), plural(warnings, "warning"))
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// JSON writes a list of {file, line, column, end_line, end_column, severity, code, message, hint}.
func JSON(w io.Writer, _ []string, ds []spec.Diagnostic) error {
	type finding struct {
		spec.Position
		Severity spec.Severity `json:"severity"`
		Code     string        `json:"code"`
		Message  string        `json:"message"`
		Hint     string        `json:"hint"`
	}
	list := make([]finding, 0, len(ds))
	for _, d := range ds {
		list = append(list, finding{d.Position, d.Severity, d.Code, d.Message, d.Hint})
	}
	return encode(w, list)
}

func encode(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
