package mapper

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// TestCacheRunsWithoutWatch: after a restart everything runs before the watch answers.
func TestCacheRunsWithoutWatch(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc(), pushed("temp"))
		pass(time.Second)
		r.stop()
		r.watch.end(errors.New("the control part is away"))
		r.run()
		pass(time.Second)
		check(t, "state", line(r.of("temp").State, r.Revision()), "enabled 1")
		sealed, err := os.ReadFile(filepath.Join(r.opts.Dir, "desired.bin"))
		if err != nil || bytes.Contains(sealed, []byte("temp")) {
			t.Errorf("the copy is readable: %v", err)
		}
		r.watch.end(nil)
		pass(time.Minute)
		r.watch.set(gone(pushed("temp")))
		pass(time.Second)
		check(t, "resources", len(r.Status()), 1)
		r.watch.mu.Lock()
		defer r.watch.mu.Unlock()
		check(t, "first and last cursor", line(r.watch.asked[0], r.watch.asked[len(r.watch.asked)-1]), " s-1")
	})
}

func TestBadCache(t *testing.T) {
	good := func(t *testing.T) []byte {
		c, err := openCache(t.TempDir(), "protocol-mapper", bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.save(desired{cursor: "s-1", resources: map[string]spec.Resource{}}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"truncated":    func(b []byte) []byte { return b[:len(b)-1] },
		"other format": func(b []byte) []byte { return append([]byte("X"), b...) },
		"flipped":      func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			data := spoil(good(t))
			scenario(t, func(t *testing.T, r *rig) {
				r.stop()
				if err := os.WriteFile(filepath.Join(r.opts.Dir, "desired.bin"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				r.run()
				r.watch.set(plc(), pushed("temp"))
				pass(time.Second)
				check(t, "state", r.of("temp").State, spec.StateEnabled)
				check(t, "last cursor", r.watch.asked[len(r.watch.asked)-1], "")
			})
		})
	}
}

func TestOptions(t *testing.T) {
	r := newRig(t)
	r.opts.Key = []byte("short")
	if _, err := New(r.opts); err == nil {
		t.Error("a short key is accepted")
	}
	r = newRig(t)
	r.opts.Dir = filepath.Join(r.opts.Dir, "file", "dir")
	if err := os.WriteFile(filepath.Dir(r.opts.Dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(r.opts); spec.KindOf(err) != spec.Invalid {
		t.Errorf("a directory that cannot be made: %v", err)
	}
}

// TestCollector: a state is one only when its group is complete.
func TestCollector(t *testing.T) {
	put := func(id string) spec.Event[spec.Resource] {
		return spec.Event[spec.Resource]{Type: spec.EventPut, Key: "press::" + id, Value: pushed(id)}
	}
	event := func(typ spec.EventType, key string) spec.Event[spec.Resource] {
		return spec.Event[spec.Resource]{Type: typ, Key: key, Cursor: "c"}
	}
	c := collector{}
	var states [][]string
	for _, e := range []spec.Event[spec.Resource]{
		event(spec.EventSnapshot, ""), put("a"), put("b"), event(spec.EventSynced, ""),
		put("c"), event(spec.EventDelete, "press::a"), event(spec.EventSynced, ""),
		put("x"), event(spec.EventSnapshot, ""), put("d"), event(spec.EventSynced, ""),
		put("half"),
	} {
		synced, err := c.take(e)
		if err != nil {
			t.Fatal(err)
		}
		if synced {
			states = append(states, sortedKeys(c.synced.resources))
		}
	}
	check(t, "states", states, [][]string{{"press::a", "press::b"}, {"press::b", "press::c"}, {"press::d"}})
	if _, err := c.take(event("odd", "")); err == nil {
		t.Error("an unknown event is accepted")
	}
}

// TestRapidChanges: states that follow each other quickly are taken over at least once, the last one surely.
func TestRapidChanges(t *testing.T) {
	scenario(t, func(t *testing.T, r *rig) {
		r.watch.set(plc())
		pass(time.Second)
		for range 50 {
			r.watch.set(pushed("temp", `"qos":1`))
			r.watch.set(pushed("temp"))
		}
		pass(time.Second)
		check(t, "revision", r.Revision(), 101)
		if starts := r.of("temp").Starts; starts == 0 || starts > 100 {
			t.Errorf("%d starts", starts)
		}
	})
}
