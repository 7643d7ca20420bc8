package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

func findings() ([]string, []spec.Diagnostic) {
	return []string{"press.yml", "./halls/1 & 2/pump.yml", "clean.yml"}, []spec.Diagnostic{
		{
			Position: spec.Position{File: "press.yml", Line: 12, Column: 9, EndLine: 12, EndColumn: 13},
			Severity: spec.SeverityError, Code: "wrong-type", Message: `connection.port must be a whole number, not a string`, Hint: "remove the quotes",
		},
		{
			Position: spec.Position{File: "press.yml", Line: 14, Column: 9, EndLine: 14, EndColumn: 13},
			Severity: spec.SeverityWarning, Code: "unknown-property", Message: `unknown property "connection.hots"`, Hint: `did you mean "host"?`,
		},
		{
			Position: spec.Position{File: "press.yml", Line: 20, Column: 9, EndLine: 20, EndColumn: 13},
			Severity: spec.SeverityWarning, Code: "unknown-property", Message: `unknown property "connection.hots"`, Hint: `did you mean "host"?`,
		},
		{
			Position: spec.Position{File: "./halls/1 & 2/pump.yml"},
			Severity: spec.SeverityError, Code: "too-large", Message: "the file <&> has a \x07 bell",
		},
	}
}

func TestFormats(t *testing.T) {
	files, ds := findings()
	for name, write := range map[string]func(io.Writer, []string, []spec.Diagnostic) error{
		"report.txt": Text, "report.json": JSON, "report.sarif": SARIF, "report.xml": JUnit, "report.gitlab.json": GitLab,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b, files, ds); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s differs (refresh with -update)\ngot:\n%s", path, b.Bytes())
			}
		})
	}
}

// TestEmpty holds that no findings give lists, not null: readers of all formats fail on null.
func TestEmpty(t *testing.T) {
	for name, write := range map[string]func(io.Writer, []string, []spec.Diagnostic) error{"json": JSON, "gitlab": GitLab} {
		var b bytes.Buffer
		if err := write(&b, nil, nil); err != nil || b.String() != "[]\n" {
			t.Errorf("%s of nothing is %q, %v", name, b.String(), err)
		}
	}
	var b bytes.Buffer
	if err := SARIF(&b, nil, nil); err != nil || bytes.Contains(b.Bytes(), []byte("null")) {
		t.Errorf("SARIF of nothing is %s, %v", b.Bytes(), err)
	}
}

func TestFingerprints(t *testing.T) {
	files, ds := findings()
	read := func() []gitlabIssue {
		var b bytes.Buffer
		if err := GitLab(&b, files, ds); err != nil {
			t.Fatal(err)
		}
		var issues []gitlabIssue
		if err := json.Unmarshal(b.Bytes(), &issues); err != nil {
			t.Fatal(err)
		}
		return issues
	}
	before := read()
	for i := range ds {
		ds[i].Line += 5
	}
	seen := map[string]bool{}
	for i, issue := range read() {
		if issue.Fingerprint != before[i].Fingerprint {
			t.Errorf("the fingerprint of %q changed with its line", issue.Description)
		}
		if seen[issue.Fingerprint] {
			t.Errorf("the fingerprint of %q is not its own", issue.Description)
		}
		seen[issue.Fingerprint] = true
	}
}

func TestJUnitCounts(t *testing.T) {
	files, ds := findings()
	var b bytes.Buffer
	if err := JUnit(&b, files, ds); err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(b.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Tests != 3 || suites.Failures != 2 || len(suites.Suites) != 3 {
		t.Errorf("got %d tests, %d failures, %d suites", suites.Tests, suites.Failures, len(suites.Suites))
	}
}
