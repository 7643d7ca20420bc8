package provider_test

import (
	"archive/zip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Passwords, tokens and secret parameters are in no state, plan file, log or output, also where
// an apply fails.
func TestForeignTerraformSecretsStayAway(t *testing.T) {
	i := start(t)
	w := newWorkspace(t)
	secrets := []string{"planted-password-1", "planted-parameter-2", "planted-password-3", adminPassword}
	config := func(version string) string {
		return "provider \"millwright\" {\n  url = \"" + i.url + "\"\n  username = \"admin\"\n}\n" + // the password comes by the environment
			"variable \"user\" {\n  ephemeral = true\n  type = string\n}\nvariable \"parameter\" {\n  ephemeral = true\n  type = string\n}\n" + `
resource "millwright_user" "u" {
  username            = "line1"
  password_wo         = var.user
  password_wo_version = "` + version + `"
}
resource "millwright_service" "s" {
  id                    = "guarded"
  commissioning         = file("guarded.yml")
  parameters            = { host = "127.0.0.1" }
  parameters_wo         = { password = var.parameter }
  parameters_wo_version = "` + version + `"
}
ephemeral "millwright_token" "t" {
  ttl = "5m"
}
`
	}
	w.write("guarded.yml", testFile(t, "guarded.yml"))
	w.env = append(w.env, "TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(w.dir, "trace.log"), "MILLWRIGHT_USERNAME=admin", "MILLWRIGHT_PASSWORD="+adminPassword)
	var output strings.Builder
	step := func(want int, user, parameter string, args ...string) {
		t.Helper()
		env := w.env
		w.env = append(w.env, "TF_VAR_user="+user, "TF_VAR_parameter="+parameter)
		out, code := w.run(args...)
		w.env = env
		output.WriteString(out)
		if code != want {
			t.Fatalf("terraform %s: exit %d\n%s", strings.Join(args, " "), code, out)
		}
	}
	w.main(strings.Replace(config("1"), "  username = \"admin\"\n", "", 1))
	step(0, secrets[0], secrets[1], "plan", "-input=false", "-out=plan.bin")
	step(0, secrets[0], secrets[1], "show", "-json", "plan.bin")
	step(0, secrets[0], secrets[1], "apply", "-input=false", "plan.bin")
	step(0, secrets[0], secrets[1], "show", "-json")
	step(0, secrets[0], secrets[1], "plan", "-input=false", "-detailed-exitcode")
	i.onlyOwnToken()
	w.main(strings.Replace(config("2"), "  username = \"admin\"\n", "", 1))
	step(0, secrets[2], secrets[1], "apply", "-input=false", "-auto-approve")
	step(0, secrets[2], secrets[1], "show")
	w.main(strings.Replace(config("3"), "  username = \"admin\"\n", "", 1))
	i.end()
	step(1, secrets[0], secrets[1], "apply", "-input=false", "-auto-approve", "-refresh=false")
	checkAbsent(t, "the output", output.String(), secrets)
	seen := 0
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		seen++
		if filepath.Base(path) == "plan.bin" {
			text = unpacked(t, path)
		}
		checkAbsent(t, path, string(text), secrets)
		return err
	})
	if err != nil || seen < 5 {
		t.Errorf("%d files were searched, %v", seen, err)
	}
}

// unpacked is what a plan file holds, which is an archive.
func unpacked(t *testing.T, path string) (all []byte) {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if len(archive.File) < 3 {
		t.Errorf("%s holds %d files", path, len(archive.File))
	}
	return all
}

// onlyOwnToken checks that neither sessions nor tokens of Terraform are left.
func (i *instance) onlyOwnToken() {
	i.t.Helper()
	left, err := i.Tokens().List(i.t.Context(), nil)
	if err != nil || len(left) != 1 || left[0].Name != "tests" {
		i.t.Errorf("tokens left: %+v, %v", left, err)
	}
}

func checkAbsent(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("%s holds %q: ...%s", where, secret, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}
