package commissioning

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/expr"
)

func compiles(expression string) error {
	_, err := expr.Compile(expression)
	return err
}

// commissioningExamples are the published commissioning files. What else ends in .yml is an
// inventory, its variables, or a pipeline; playbooks and stack files end in .yaml. All those
// are run by tests of their own.
func commissioningExamples(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("../../examples", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "group_vars" || entry.Name() == ".terraform"):
			return fs.SkipDir
		case filepath.Ext(path) == ".yml" && entry.Name() != "inventory.yml" && !strings.HasSuffix(path, ".gitlab-ci.yml"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestExamples holds that every published example is valid as it stands, without a warning.
func TestExamples(t *testing.T) {
	files := commissioningExamples(t)
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "../../examples/"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, ds := evaluateCase(t, src, Input{AllowMissing: true, CheckExpression: compiles})
			if len(ds) > 0 {
				t.Errorf("%s:\n%s", file, printDiagnostics(ds))
			}
			if s == nil || len(s.Resources) == 0 {
				t.Errorf("%s holds no resources", file)
			}
		})
	}
}
