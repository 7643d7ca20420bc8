package commissioning

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/millwright/millwright/internal/expr"
)

func compiles(expression string) error {
	_, err := expr.Compile(expression)
	return err
}

// TestExamples holds that every published example is valid as it stands, without a warning.
// (The playbooks among them end in .yaml; they are run by the tests of the modules.)
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
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
