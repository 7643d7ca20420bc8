package engine

import (
	"context"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/client"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testneed"
)

// stopping calls told once the first container that it is asked to stop has begun to end.
type stopping struct {
	next   http.RoundTripper
	engine *Engine
	told   func()
}

func (s stopping) RoundTrip(r *http.Request) (*http.Response, error) {
	if id, ok := strings.CutSuffix(r.URL.Path, "/stop"); ok {
		id = id[strings.LastIndex(id, "/")+1:]
		ctx, end := context.WithCancel(r.Context())
		defer end()
		go func() {
			for ctx.Err() == nil {
				lines, err := s.engine.tail(ctx, id)
				if err == nil && strings.Contains(strings.Join(lines, "\n"), "it was told to end") {
					s.told()
					return
				}
			}
		}()
	}
	return s.next.RoundTrip(r)
}

// brokenOff is a connection to the same engine whose context ends while a container is stopped.
func brokenOff(t *testing.T, e *Engine) (context.Context, *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	transport := stopping{next: e.api.HTTPClient().Transport, engine: e, told: cancel}
	api, err := client.NewClientWithOpts(client.WithHost(e.host), client.WithHTTPClient(&http.Client{Transport: transport}), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return ctx, &Engine{api: api, log: e.log, host: e.host, local: e.local, by: e.by}
}

// Whoever breaks a pass, or a restore, off while a container takes its time to end finds the
// instance running: the engine goes on stopping it, and what is started again before that ends.
func TestForeignBrokenOffWhileStopping(t *testing.T) {
	t.Parallel()
	e := open(t, testneed.OwnDocker(t))
	p := newPlant(t, e, archive(t, t.TempDir(), "1.0.0", "well", runtime.GOARCH))
	p.given.Env = map[string]string{"STANDIN_SLOW": "2s"}
	p.apply()
	p.keepData(t)
	t.Run("a pass", func(t *testing.T) {
		p.t = t
		given := p.given
		given.Devices = []string{"/dev/null"}
		before := p.identities()
		ctx, broken := brokenOff(t, e)
		pass, err := broken.Plan(ctx, given, testDefaults())
		if err != nil {
			t.Fatal(err)
		}
		_, err = broken.Apply(ctx, pass, nil)
		if err == nil || !strings.Contains(p.named(err.Error()), "the previous container NAME-mapper-1 was put back") {
			t.Errorf("got %v", err)
		}
		p.kept(before, "mapper") // was told to end, and started anew
		p.empty()
		p.whole(t)
	})
	t.Run("a restart", func(t *testing.T) {
		p.t = t
		before := p.identities()
		ctx, broken := brokenOff(t, e)
		pass, err := broken.Plan(ctx, spec.Instance{Name: p.given.Name, State: spec.Restarted}, testDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if done, err := broken.Apply(ctx, pass, nil); err == nil {
			t.Errorf("it was not broken off:\n%s", done)
		}
		p.kept(before, "control")
		p.empty()
		p.whole(t)
	})
	t.Run("a restore", func(t *testing.T) {
		p.t = t
		file := filepath.Join(t.TempDir(), "backup.tar.gz")
		p.backup(BackupOptions{File: file})
		before := p.identities()
		ctx, broken := brokenOff(t, e)
		_, err := broken.Restore(ctx, openArchive(t, file), RestoreOptions{
			Instance: spec.Instance{Name: p.given.Name}, Defaults: testDefaults(), Replace: true, Version: "1.0.0",
		})
		if err == nil {
			t.Error("it was not broken off")
		}
		p.kept(before, "mapper") // was told to end, and started anew
		p.empty()
		p.whole(t)
	})
}
