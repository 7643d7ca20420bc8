package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	File      string        `xml:"file,attr,omitempty"`
	Failure   *junitFailure `xml:"failure,omitempty"`
	Output    string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes one test suite for each file: a case for each error, which fails, and one
// that passes, with the warnings as its output, for a file without errors.
func JUnit(w io.Writer, files []string, ds []spec.Diagnostic) error {
	out := junitSuites{Name: "millwright validate"}
	for _, file := range withStrays(files, ds) {
		s := junitFile(file, ds)
		out.Tests += s.Tests
		out.Failures += s.Failures
		out.Suites = append(out.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(out); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitFile(file string, ds []spec.Diagnostic) junitSuite {
	s := junitSuite{Name: file}
	var warnings []string
	for _, d := range ds {
		if d.File != file {
			continue
		}
		if d.Severity != spec.SeverityError {
			warnings = append(warnings, d.String())
			continue
		}
		s.Cases = append(s.Cases, junitCase{
			Name: fmt.Sprintf("%s at %d:%d", d.Code, d.Line, d.Column), ClassName: file, File: file,
			Failure: &junitFailure{Message: printable(d.Message), Type: d.Code, Text: printable(d.String())},
		})
	}
	s.Failures = len(s.Cases)
	output := printable(strings.Join(warnings, "\n"))
	if s.Failures == 0 {
		s.Cases = append(s.Cases, junitCase{Name: "valid", ClassName: file, File: file, Output: output})
	} else {
		s.Cases[0].Output = output
	}
	s.Tests = len(s.Cases)
	return s
}

// withStrays adds the files that only diagnostics name.
func withStrays(files []string, ds []spec.Diagnostic) []string {
	seen := map[string]bool{}
	var out []string
	add := func(file string) {
		if !seen[file] {
			seen[file] = true
			out = append(out, file)
		}
	}
	for _, f := range files {
		add(f)
	}
	for _, d := range ds {
		add(d.File)
	}
	return out
}

// printable leaves out what XML cannot hold.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 && c != '\t' && c != '\n' || c == 0xFFFE || c == 0xFFFF {
			return '\uFFFD'
		}
		return c
	}, s)
}
