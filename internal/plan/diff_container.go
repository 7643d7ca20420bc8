package plan

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

func (d instanceDiff) container(want Container) []Step {
	have, last := containerOf(&d.Actual, want.Part), containerOf(d.Last, want.Part)
	s := d.step(Create, KindContainer, want.Part, d.missing(last != nil), DisturbsNone)
	if have == nil {
		return []Step{s}
	}
	d.compareContainer(&s, want, *have, last)
	if d.networkReplaced() && s.Symbol != Replace {
		s.Symbol, s.Cause = Replace, "its network is replaced"
	}
	if s.Symbol == Create {
		return nil
	}
	if s.Symbol == Replace {
		s.Disturbs, s.Seconds = DisturbsContainer, secondsReplace
	}
	return []Step{s}
}

func (d instanceDiff) networkReplaced() bool {
	n := d.network()
	return len(n) == 1 && n[0].Symbol == Replace
}

// compareContainer sets the step's changes, symbol and cause; it leaves it Create where nothing differs.
func (d instanceDiff) compareContainer(s *Step, want, have Container, last *Container) {
	s.Changes = containerChanges(want, have, last)
	replace := slices.ContainsFunc(s.Changes, func(c Change) bool { return !changesLive(c) })
	made, err := want.Fingerprint()
	switch {
	case replace:
		s.Symbol = Replace
	case err != nil || have.Made != "" && have.Made != made:
		s.Symbol, s.Cause = Replace, "was made from other settings"
	case len(s.Changes) > 0:
		s.Symbol, s.Cause = Update, ""
	}
	asked := s.Changes
	if have.Interrupted != "" { // that is why its name is another
		asked = slices.DeleteFunc(slices.Clone(asked), func(c Change) bool { return c.Path == PathName })
	}
	if s.Symbol != Create && len(asked) > 0 {
		s.Cause = containerCause(asked, want, last)
	}
	also := func(cause string) {
		if s.Symbol == Create {
			s.Symbol, s.Cause = Update, ""
		}
		s.Cause = joinCauses(s.Cause, cause)
	}
	if have.Interrupted != "" {
		also(have.Interrupted)
	}
	if !have.Running && want.Running {
		s.Changes = append(s.Changes, Change{Path: "running", From: false, To: true})
		also("is not running: " + have.Status)
	}
}

func joinCauses(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// containerChanges lists what differs. Of the environment only what we set, or did set, is
// ours; the image sets more.
func containerChanges(want, have Container, last *Container) []Change {
	to, from := want.attributes(), have.attributes()
	ours := map[string]any{}
	maps.Copy(ours, to)
	if last != nil {
		maps.Copy(ours, last.attributes())
	}
	maps.DeleteFunc(from, func(path string, _ any) bool {
		_, known := ours[path]
		return !known && strings.HasPrefix(path, "environment")
	})
	var changes []Change
	for _, path := range sortedSet(slices.Collect(maps.Keys(mergedKeys(from, to)))) {
		if !reflect.DeepEqual(from[path], to[path]) {
			changes = append(changes, Change{Path: path, From: from[path], To: to[path]})
		}
	}
	return changes
}

func mergedKeys(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// containerCause tells what was asked for from what was changed behind our back.
func containerCause(changes []Change, want Container, last *Container) string {
	if last == nil {
		return causeOf(changes)
	}
	to, before := want.attributes(), last.attributes()
	var asked, drifted []Change
	cause := ""
	for _, c := range changes {
		switch {
		case c.Path == pathImage && want.Image == last.Image:
			cause = "is not made from the image that its tag names now"
		case reflect.DeepEqual(to[c.Path], before[c.Path]) && c.Path != pathImage:
			drifted = append(drifted, c)
		default:
			asked = append(asked, c)
		}
	}
	if len(asked) > 0 {
		cause = joinCauses(cause, causeOf(asked))
	}
	if len(drifted) > 0 {
		cause = joinCauses(cause, strings.Replace(causeOf(drifted), " changed", " changed outside", 1))
	}
	return cause
}
