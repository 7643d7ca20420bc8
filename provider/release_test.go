package provider_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"gopkg.in/yaml.v3"
)

// releaser is what .goreleaser.yml may say; anything else is a mistake.
type releaser struct {
	Version     int    `yaml:"version"`
	ProjectName string `yaml:"project_name"`
	Builds      []struct {
		Main         string              `yaml:"main"`
		Binary       string              `yaml:"binary"`
		Env          []string            `yaml:"env"`
		Flags        []string            `yaml:"flags"`
		Ldflags      []string            `yaml:"ldflags"`
		ModTimestamp string              `yaml:"mod_timestamp"`
		Goos         []string            `yaml:"goos"`
		Goarch       []string            `yaml:"goarch"`
		Ignore       []map[string]string `yaml:"ignore"`
	} `yaml:"builds"`
	Archives []struct {
		Formats      []string `yaml:"formats"`
		NameTemplate string   `yaml:"name_template"`
		Files        []string `yaml:"files"`
	} `yaml:"archives"`
	Checksum struct {
		ExtraFiles   []releaseFile `yaml:"extra_files"`
		NameTemplate string        `yaml:"name_template"`
		Algorithm    string        `yaml:"algorithm"`
	} `yaml:"checksum"`
	Signs []struct {
		Artifacts string   `yaml:"artifacts"`
		Args      []string `yaml:"args"`
	} `yaml:"signs"`
	Release struct {
		ExtraFiles []releaseFile `yaml:"extra_files"`
	} `yaml:"release"`
	Changelog struct {
		Disable bool `yaml:"disable"`
	} `yaml:"changelog"`
}

type releaseFile struct {
	Glob         string `yaml:"glob"`
	NameTemplate string `yaml:"name_template"`
}

// named fills in a name's template.
func named(t *testing.T, text, goos, arch string) string {
	t.Helper()
	var out bytes.Buffer
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err == nil {
		err = parsed.Execute(&out, map[string]string{"ProjectName": "terraform-provider-millwright", "Version": "1.2.3", "Os": goos, "Arch": arch})
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out.String()
}

// A release has the files, by the names, that the registry looks for.
func TestReleaseIsWhatTheRegistryWants(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", ".goreleaser.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var r releaser
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	const prefix = "terraform-provider-millwright_"
	if r.Version != 2 || r.ProjectName+"_" != prefix || len(r.Builds) != 1 || len(r.Archives) != 1 || len(r.Signs) != 1 {
		t.Fatalf("%+v", r)
	}
	build, archive := r.Builds[0], r.Archives[0]
	if _, err := os.Stat(filepath.Join("..", build.Main, "main.go")); err != nil {
		t.Error(err)
	}
	if got := named(t, build.Binary, "linux", "amd64"); got != prefix+"v1.2.3" || !slices.Contains(build.Env, "CGO_ENABLED=0") {
		t.Errorf("the program is %q, built with %v", got, build.Env)
	}
	if got := named(t, archive.NameTemplate, "linux", "amd64"); got != prefix+"1.2.3_linux_amd64" || !slices.Equal(archive.Formats, []string{"zip"}) {
		t.Errorf("an archive is %q, %v", got, archive.Formats)
	}
	for _, platform := range strings.Fields("linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64") {
		goos, arch, _ := strings.Cut(platform, "/")
		ignored := slices.ContainsFunc(build.Ignore, func(m map[string]string) bool { return m["goos"] == goos && m["goarch"] == arch })
		if !slices.Contains(build.Goos, goos) || !slices.Contains(build.Goarch, arch) || ignored {
			t.Errorf("nothing is built for %s", platform)
		}
	}
	if got := named(t, r.Checksum.NameTemplate, "", ""); got != prefix+"1.2.3_SHA256SUMS" || r.Checksum.Algorithm != "sha256" {
		t.Errorf("the checksums are %q, %s", got, r.Checksum.Algorithm)
	}
	if sign := r.Signs[0]; sign.Artifacts != "checksum" || !slices.Contains(sign.Args, "--detach-sign") || slices.Contains(sign.Args, "--armor") {
		t.Errorf("signed is %+v", sign) // the signature is binary, beside the checksums, with .sig
	}
	for what, files := range map[string][]releaseFile{"checksums": r.Checksum.ExtraFiles, "release": r.Release.ExtraFiles} {
		if len(files) != 1 || files[0].Glob != "terraform-registry-manifest.json" || named(t, files[0].NameTemplate, "", "") != prefix+"1.2.3_manifest.json" {
			t.Errorf("the manifest among the %s is %+v", what, files)
		}
	}
	manifest, err := os.ReadFile(filepath.Join("..", "terraform-registry-manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Version  int `json:"version"`
		Metadata struct {
			Protocols []string `json:"protocol_versions"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil || m.Version != 1 || !slices.Equal(m.Metadata.Protocols, []string{"6.0"}) {
		t.Errorf("the manifest is %s: %v", manifest, err)
	}
}

// Each resource, data source, function and ephemeral resource has its page and its example.
func TestPagesAndExamples(t *testing.T) {
	for kind, file := range map[string]string{
		"resources": "resource.tf", "data-sources": "data-source.tf", "functions": "function.tf", "ephemeral-resources": "ephemeral-resource.tf",
	} {
		pages, err := filepath.Glob(filepath.Join("..", "docs", kind, "*.md"))
		if err != nil || len(pages) == 0 {
			t.Fatalf("no pages of %s: %v", kind, err)
		}
		for _, page := range pages {
			name := strings.TrimSuffix(filepath.Base(page), ".md")
			if kind != "functions" {
				name = "millwright_" + name
			}
			if _, err := os.Stat(filepath.Join(exampleRoot, kind, name, file)); err != nil {
				t.Errorf("%s has no example: %v", page, err)
			}
		}
	}
}
