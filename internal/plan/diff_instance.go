package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// InstanceInput is what DiffInstance compares.
type InstanceInput struct {
	State         spec.State // started, stopped, restarted or absent
	Desired       Deployment
	Actual        Deployment
	DeleteVolumes bool
	// BackupTo is where a backup goes before the image changes; empty: none is made.
	BackupTo string
	// Last is Desired as it would be rendered from what was last applied: it tells a setting
	// that was changed from one that was changed behind our back. Nil: nothing yet.
	Last *Deployment
}

// Estimates of how long a container is away, in seconds.
const (
	secondsReplace = 10
	secondsRestart = 5
	secondsBackup  = 1
)

// DiffInstance returns the steps that turn the actual deployment into the desired one, each
// with its cause. The instance's own step comes first in the list and is done last: it keeps
// what was applied. With stopped, restarted and absent only the state is compared. It is pure.
func DiffInstance(in InstanceInput) []Step {
	d := instanceDiff{InstanceInput: in, address: InstanceAddress(in.Desired.Name)}
	switch in.State {
	case spec.Absent:
		return d.absent()
	case spec.Stopped:
		return d.stopped()
	case spec.Restarted:
		return d.restarted()
	}
	return d.started()
}

type instanceDiff struct {
	InstanceInput
	address string
}

func (d instanceDiff) step(symbol Symbol, kind, name, cause string, disturbs Disturbance) Step {
	s := Step{Symbol: symbol, Address: d.address + "/" + kind + "/" + name, Cause: cause, Disturbs: disturbs}
	if kind == KindSecrets || kind == KindBackup {
		s.Address = d.address + "/" + kind
	}
	return s
}

func (d instanceDiff) started() []Step {
	steps := d.leftovers(false)
	steps = append(steps, d.image()...)
	steps = append(steps, d.backup()...)
	steps = append(steps, d.network()...)
	before, after := d.volumes()
	steps = append(steps, before...)
	steps = append(steps, d.secrets()...)
	steps = append(steps, after...)
	for _, c := range d.Desired.Containers {
		steps = append(steps, d.container(c)...)
	}
	steps = append(steps, d.superfluous()...)
	steps = append(steps, d.files()...) // last: they say what runs, also after a failure
	if own, ok := d.own(); ok {
		steps = append([]Step{own}, steps...)
	}
	return steps
}

// own is the step of the instance itself: what is kept of it.
func (d instanceDiff) own() (Step, bool) {
	s := Step{Address: d.address, Disturbs: DisturbsNone}
	switch {
	case !d.Actual.Exists():
		s.Symbol, s.Cause = Create, "does not exist yet"
		s.Changes = compareTrees("", map[string]any{}, optionTree(d.Desired.Spec))
		return s, true
	case d.Actual.Spec == nil:
		s.Symbol, s.Cause = Update, "nothing says what was last applied"
		return s, true
	}
	s.Symbol = Update
	s.Changes = compareTrees("", optionTree(d.Actual.Spec), optionTree(d.Desired.Spec))
	switch {
	case len(s.Changes) > 0:
		s.Cause = causeOf(s.Changes)
	case !d.Actual.Recorded:
		s.Cause = "the record of what was applied was removed outside"
	default:
		return s, false
	}
	return s, true
}

// optionTree is the applied form as the options that a user writes.
func optionTree(i *spec.Instance) map[string]any {
	if i == nil {
		return map[string]any{}
	}
	text, err := json.Marshal(i.Applied())
	if err != nil {
		return map[string]any{} // strings and numbers only: it cannot fail
	}
	tree := map[string]any{}
	if err := json.Unmarshal(text, &tree); err != nil {
		return map[string]any{}
	}
	delete(tree, "name")
	return tree
}

// compareTrees lists the leaves in which two JSON trees differ, in the order of their paths.
func compareTrees(path string, from, to any) []Change {
	if reflect.DeepEqual(from, to) {
		return nil
	}
	x, isX := from.(map[string]any)
	y, isY := to.(map[string]any)
	if !isX && !isY || from != nil && !isX || to != nil && !isY {
		return []Change{{Path: path, From: from, To: to}}
	}
	keys := map[string]bool{}
	for k := range x {
		keys[k] = true
	}
	for k := range y {
		keys[k] = true
	}
	var changes []Change
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		changes = append(changes, compareTrees(joinPath(path, k), x[k], y[k])...)
	}
	return changes
}

func (d instanceDiff) leftovers(held bool) []Step {
	var steps []Step
	for _, l := range d.Actual.Leftovers {
		if held || !l.Held {
			steps = append(steps, d.step(Delete, KindLeftover, l.Name, l.Cause, DisturbsNone))
		}
	}
	return steps
}

func (d instanceDiff) image() []Step {
	i := d.Desired.Image
	s := d.step(Create, KindImage, i.Reference, "the engine does not have it: "+i.Source, DisturbsNone)
	switch {
	case i.ID == "" || i.Missing:
	case i.Stale:
		s.Symbol, s.Cause = Update, "the registry has another one"
	default:
		return nil
	}
	return []Step{s}
}

// backup comes before everything that an upgrade changes: a failed one may need it.
func (d instanceDiff) backup() []Step {
	changes := slices.ContainsFunc(d.Desired.Containers, func(c Container) bool {
		have := containerOf(&d.Actual, c.Part)
		return have != nil && have.ImageID != c.ImageID
	})
	if d.BackupTo == "" || !changes {
		return nil
	}
	s := d.step(Create, KindBackup, "", "the image changes; it goes to "+d.BackupTo, DisturbsContainer)
	s.Seconds = secondsBackup
	return []Step{s}
}

func (d instanceDiff) network() []Step {
	want, have := d.Desired.Network, d.Actual.Network
	switch {
	case want == nil:
		return nil
	case have == nil:
		s := d.step(Create, KindNetwork, want.Name, d.missing(d.Last != nil), DisturbsNone)
		if want.Subnet != "" {
			s.Changes = []Change{{Path: "subnet", To: want.Subnet}}
		}
		return []Step{s}
	case want.Subnet == "" || want.Subnet == have.Subnet:
		return nil
	}
	s := d.step(Replace, KindNetwork, want.Name, "network_mask changed", DisturbsInstance)
	if d.Last != nil && d.Last.Network != nil && d.Last.Network.Subnet == want.Subnet {
		s.Cause = "was made with another mask outside"
	}
	s.Changes, s.Seconds = []Change{{Path: "subnet", From: have.Subnet, To: want.Subnet}}, secondsReplace
	return []Step{s}
}

// missing is the cause of creating what is not there.
func (d instanceDiff) missing(was bool) string {
	if was && d.Actual.Exists() {
		return "was removed outside"
	}
	return "does not exist yet"
}

// volumes are made before the secrets, but for those that a secret is made anew with: when one
// of them is there, so is its secret.
func (d instanceDiff) volumes() (before, after []Step) {
	for _, v := range d.Desired.Volumes {
		if slices.Contains(d.Actual.Volumes, v) {
			continue
		}
		s := d.step(Create, KindVolume, v, d.missing(d.Last != nil && slices.Contains(d.Last.Volumes, v)), DisturbsNone)
		if slices.ContainsFunc(d.Desired.Secrets, func(s Secret) bool { return s.Volume == v }) {
			after = append(after, s)
		} else {
			before = append(before, s)
		}
	}
	return before, after
}

// secrets compares those that are given; a secret that only the deployment has stays.
func (d instanceDiff) secrets() []Step {
	have := map[string]Secret{}
	for _, s := range d.Actual.Secrets {
		have[s.Name] = s
	}
	var changes, renewed, outdated []Change
	var causes []string
	for _, s := range d.Desired.Secrets {
		old, ok := have[s.Name]
		change := Change{Path: s.Name, Sensitive: true}
		switch {
		case ok && s.Renewed(d.Actual):
			renewed = append(renewed, change)
		case ok && s.Content != nil && bytes.Equal(old.Content, s.Content) && old.Outdated != "":
			outdated, causes = append(outdated, change), append(causes, s.Name+" "+old.Outdated)
		case ok && (s.Content == nil || bytes.Equal(old.Content, s.Content)): // nil: any will do
		default:
			changes = append(changes, change)
		}
	}
	if len(changes)+len(renewed)+len(outdated) == 0 {
		return nil
	}
	s := d.step(Update, KindSecrets, "", "", DisturbsNone)
	if len(changes) > 0 {
		s.Cause = causeOf(changes)
	}
	if len(renewed) > 0 {
		s.Cause = joinCauses(s.Cause, strings.Replace(causeOf(renewed), " changed", " is made anew with its volume", 1))
	}
	for _, cause := range causes {
		s.Cause = joinCauses(s.Cause, cause)
	}
	if len(have) == 0 {
		s.Symbol, s.Cause = Create, "there are none yet"
	}
	s.Changes = slices.Concat(changes, renewed, outdated)
	if control := containerOf(&d.Actual, spec.PartControl); control != nil && control.Running && slices.ContainsFunc(s.Changes, readAtStart) {
		s.Disturbs, s.Seconds = DisturbsContainer, secondsRestart
	}
	return []Step{s}
}

// readAtStart is of the secret that control looks at only when it starts: it is started again for it.
func readAtStart(c Change) bool { return c.Path == SecretAdminPassword }

// CauseSettings is why a file changes that nobody edited.
const CauseSettings = "its settings changed"

func (d instanceDiff) files() []Step {
	var steps []Step
	for _, f := range d.Desired.Files {
		have, last := fileOf(&d.Actual, f.Name), fileOf(d.Last, f.Name)
		s := d.step(Update, KindFile, f.Name, "", DisturbsNone)
		switch {
		case have == nil || have.Content == nil:
			s.Symbol, s.Cause = Create, d.missing(last != nil)
		case !bytes.Equal(have.Content, f.Content):
			s.Cause = CauseSettings
			if last == nil || !bytes.Equal(have.Content, last.Content) {
				s.Cause = "was edited outside; the edited one is kept as " + f.Name + ".bak"
			}
		case have.Mode != f.Mode:
			s.Cause = "its mode was changed outside"
			s.Changes = []Change{{Path: "mode", From: fmt.Sprintf("%04o", have.Mode), To: fmt.Sprintf("%04o", f.Mode)}}
		default:
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// superfluous deletes the containers of agents that are no longer declared. Their volumes
// stay unless they are to be deleted.
func (d instanceDiff) superfluous() []Step {
	var steps []Step
	for _, c := range slices.Backward(d.Actual.Containers) {
		if containerOf(&d.Desired, c.Part) == nil {
			s := d.step(Delete, KindContainer, c.Part, "is no longer declared", DisturbsContainer)
			steps = append(steps, s)
		}
	}
	if !d.DeleteVolumes {
		return steps
	}
	for _, v := range slices.Backward(d.Actual.Volumes) {
		if !slices.Contains(d.Desired.Volumes, v) {
			steps = append(steps, d.step(Delete, KindVolume, v, "is no longer declared, and delete_volumes was asked for", DisturbsNone))
		}
	}
	return steps
}

func (d instanceDiff) stopped() []Step {
	var steps []Step
	for _, c := range slices.Backward(d.Actual.Containers) {
		if c.Running {
			s := d.step(Update, KindContainer, c.Part, "state stopped was asked for", DisturbsContainer)
			s.Changes = []Change{{Path: "running", From: true, To: false}}
			steps = append(steps, s)
		}
	}
	return steps
}

// restarted begins with what the others need.
func (d instanceDiff) restarted() []Step {
	var steps []Step
	for _, c := range d.Actual.Containers {
		s := d.step(Update, KindContainer, c.Part, "state restarted was asked for", DisturbsContainer)
		s.Changes, s.Seconds = []Change{{Path: "running", From: c.Running, To: true}}, secondsRestart
		steps = append(steps, s)
	}
	return steps
}

func (d instanceDiff) absent() []Step {
	const cause = "state absent was asked for"
	steps := d.leftovers(true)
	for _, c := range slices.Backward(d.Actual.Containers) {
		steps = append(steps, d.step(Delete, KindContainer, c.Part, cause, DisturbsContainer))
	}
	if n := d.Actual.Network; n != nil {
		steps = append(steps, d.step(Delete, KindNetwork, n.Name, cause, DisturbsNone))
	}
	for _, f := range d.Actual.Files {
		if f.Content != nil {
			steps = append(steps, d.step(Delete, KindFile, f.Name, cause, DisturbsNone))
		}
	}
	if d.DeleteVolumes {
		for _, v := range slices.Backward(d.Actual.Volumes) {
			steps = append(steps, d.step(Delete, KindVolume, v, "delete_volumes was asked for", DisturbsNone))
		}
		if v := d.Actual.Backups; v != "" {
			steps = append(steps, d.step(Delete, KindVolume, v, "delete_volumes was asked for: the backups go too", DisturbsNone))
		}
	}
	if d.Actual.Exists() {
		own := Step{Symbol: Delete, Address: d.address, Cause: cause, Disturbs: DisturbsInstance}
		steps = append([]Step{own}, steps...)
	}
	return steps
}
