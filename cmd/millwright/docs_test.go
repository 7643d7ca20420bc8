package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fenced   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	mdLink   = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	cliLine  = regexp.MustCompile(`(?m)^(?:\$ )?(?:bin/)?millwright ([a-z]+)`)
	docsRoot = filepath.Join("..", "..")
)

// markdownFiles calls check with every page of the project.
func markdownFiles(t *testing.T, check func(path, text string)) {
	t.Helper()
	pages := 0
	visit := func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		check(path, string(text))
		pages++
		return err
	}
	for _, root := range []string{"README.md", "docs", "examples", "CHANGELOG"} {
		if err := filepath.WalkDir(filepath.Join(docsRoot, root), visit); err != nil {
			t.Fatal(err)
		}
	}
	if pages < 5 {
		t.Fatalf("found only %d pages", pages)
	}
}

// TestDocsFilesValidate runs every commissioning and stack file in the docs through validate.
func TestDocsFilesValidate(t *testing.T) {
	found := 0
	markdownFiles(t, func(path, text string) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			stack := strings.Contains(block[2], "\nstack:") || strings.HasPrefix(block[2], "stack:")
			if block[1] != "yaml" || !strings.Contains(block[2], "resources:") && (!stack || strings.Contains(block[2], "commissioning_file:")) {
				continue // the files that a stack names are not there
			}
			found++
			file := filepath.Join(t.TempDir(), "block.yml")
			if err := os.WriteFile(file, []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			if stdout, stderr, code := newInstance(t).run("validate", file); code != 0 || !strings.Contains(stdout, " 0 warnings") {
				t.Errorf("%s: exit %d\n%s%s\n%s", path, code, stdout, stderr, block[2])
			}
		}
	})
	if found == 0 {
		t.Error("the docs show no commissioning file")
	}
}

// TestDocsLinksLead checks that what a page links to within the project is there.
func TestDocsLinksLead(t *testing.T) {
	markdownFiles(t, func(path, text string) {
		for _, link := range mdLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), link[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, link[1], err)
			}
		}
	})
}

// TestDocsCommandsExist checks that the commands which pages show are there.
func TestDocsCommandsExist(t *testing.T) {
	known := map[string]bool{}
	for _, c := range newRootCommand(systemStreams()).Commands() {
		known[c.Name()] = true
	}
	markdownFiles(t, func(path, text string) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			for _, line := range cliLine.FindAllStringSubmatch(block[2], -1) {
				if !known[line[1]] {
					t.Errorf("%s shows a command that does not exist: millwright %s", path, line[1])
				}
			}
		}
	})
}
