package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestGeneratedReference holds docs/reference/cli.md to what the commands say of themselves.
func TestGeneratedReference(t *testing.T) {
	t.Setenv("HOME", "/home/you") // the page shows defaults that lie below it
	t.Setenv("XDG_DATA_HOME", "")
	var page strings.Builder
	root := newRootCommand(&streams{getenv: func(string) string { return "" }})
	root.InitDefaultHelpCmd()
	page.WriteString("# The command line\n\n<!-- made from the commands by `make generate`; do not edit -->\n\n")
	page.WriteString(root.Long + "\n\n" + strings.TrimSpace(helpFooter) + "\n\n## Flags of every command\n\n")
	fmt.Fprintf(&page, "```\n%s```\n", root.PersistentFlags().FlagUsages())
	describe(&page, root)
	path := filepath.Join("..", "..", "docs", "reference", "cli.md")
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != page.String() {
		t.Errorf("docs/reference/cli.md is not what the commands say (%v): run `make generate`", err)
	}
}

func describe(page *strings.Builder, parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		if !cmd.IsAvailableCommand() || cmd.Name() == "completion" {
			continue
		}
		if cmd.HasSubCommands() {
			fmt.Fprintf(page, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
			describe(page, cmd)
			continue
		}
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		fmt.Fprintf(page, "\n## %s\n\n%s\n\n```\n%s\n\n%s```\n", cmd.CommandPath(), text, cmd.UseLine(), cmd.LocalFlags().FlagUsages())
		if cmd.Example != "" {
			fmt.Fprintf(page, "\nExamples:\n\n```\n%s\n```\n", strings.TrimPrefix(strings.ReplaceAll(cmd.Example, "\n  ", "\n"), "  "))
		}
	}
}

// TestHelp wants help texts that fit a terminal and flags that say what they are for.
func TestHelp(t *testing.T) {
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 101 {
				t.Errorf("%s: a line of the help is longer than 100 characters: %s", cmd.CommandPath(), line)
			}
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: one short sentence without a full stop says what it is for, not %q", cmd.CommandPath(), cmd.Short)
		}
		for _, c := range cmd.Commands() {
			check(c)
		}
	}
	check(newRootCommand(&streams{getenv: func(string) string { return "" }}))
}
