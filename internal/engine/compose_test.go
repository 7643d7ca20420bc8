package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/testneed"
)

// What is deployed is a compose deployment: docker compose v2 lists it, takes it down and has no
// complaint about its file. That it brings it up again, TestForeignUpgrade shows with the real image.
func TestForeignCompose(t *testing.T) {
	t.Parallel()
	host := testneed.OwnDocker(t)
	e := open(t, host)
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.given.Env = map[string]string{"PLANT": "hall $1"}
	p.given.Agents = []string{"north"}
	p.apply()

	compose := composeOf(t, p, host)
	compose("config", "--quiet")
	if got := strings.Fields(compose("ps", "--services")); len(got) != 4 {
		t.Errorf("compose sees the services %v", got)
	}
	has(t, compose("logs", "broker"), "line 30 of a well one")
	compose("down")
	if left := p.plan().actual; len(left.Containers) > 0 || len(left.Volumes) != 5 {
		t.Errorf("after down there are %d containers, %v", len(left.Containers), left.Volumes)
	}
	has(t, p.apply(), "+ instance/NAME/network/NAME_default: was removed outside", "+ instance/NAME/container/broker: was removed outside")
}

// composeOf runs docker compose on what was deployed. It fails on an error, and where `config` warns.
func composeOf(t testing.TB, p *plant, host string) func(...string) string {
	t.Helper()
	program := testneed.Compose(t)
	return func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, append([]string{"-f", filepath.Join(p.dir, render.ComposeFile)}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host, "TZ=Nowhere/AtAll")
		var log strings.Builder
		cmd.Stderr = &log
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("compose %v: %v\n%s%s", args, err, out, log.String())
		}
		if args[0] == "config" && log.Len() > 0 {
			t.Errorf("compose %v warns: %s", args, log.String())
		}
		return string(out)
	}
}
