package commissioning

import (
	"os"
	"path/filepath"
	"testing"
)

func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/cases/*/input.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == "bomb" {
			continue // right, and slow
		}
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
}

// FuzzParse holds that no input makes Parse panic, and that positions lie in the file.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		_, ds := Parse("f.yml", src)
		for _, d := range ds {
			if d.Line < 0 || d.Column < 0 || d.Line > 0 && (d.EndLine < d.Line || d.EndLine == d.Line && d.EndColumn < d.Column) {
				t.Errorf("bad position: %+v", d)
			}
		}
	})
}

// FuzzEvaluate goes on to the bound form and whatever can be asked of a service.
func FuzzEvaluate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		file, _ := Parse("f.yml", src)
		if file == nil {
			return
		}
		s, ds := file.Evaluate(Input{ID: "it", Parameters: map[string]any{"host": "a", "port": 1}, CheckExpression: bracketsBalance})
		for _, d := range ds {
			if d.Line > 0 && (d.EndLine < d.Line || d.EndLine == d.Line && d.EndColumn < d.Column) {
				t.Errorf("bad position: %+v", d)
			}
		}
		s.Order()
		s.Grants()
		s.References()
		bound, _ := s.Bind(testEnvironment())
		for _, r := range bound {
			for _, d := range ds {
				if d.Severity == "error" {
					return
				}
			}
			decodeBound(t, r)
		}
	})
}
