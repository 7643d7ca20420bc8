package ansible

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// expectation is an instance that a task would bring up, in check mode. The action plugins
// hand it to later tasks on the same target.
type expectation struct {
	Name    string `json:"name"`
	Context string `json:"context"`
	Config  string `json:"config"` // the context file that would name it
	URL     string `json:"url"`
	// New is true where it would hold nothing; else volumes are there, with what it held.
	New bool `json:"new"`
}

// expect notes, for later tasks, an instance that cannot be spoken to yet.
func (t *task) expect(p *engine.Pass, o deployer.Outcome) error {
	runs := slices.ContainsFunc(o.Containers, func(c deployer.Container) bool { return c.Part == spec.PartControl && c.Running })
	if state := p.Instance.State; runs || state != spec.Started && state != spec.Restarted {
		return nil
	}
	config, err := client.ContextPath(t.call.Getenv)
	volume := plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindVolume + "/" + p.Instance.Name + "_" + spec.PartControl
	t.result[resultExpected] = expectation{
		Name: p.Instance.Name, Context: o.Context, Config: config, URL: o.URL,
		New: slices.ContainsFunc(p.Plan.Steps, func(s plan.Step) bool { return s.Symbol == plan.Create && s.Address == volume }),
	}
	return err
}

// expectation finds the task's instance among those that earlier tasks would bring up, in the
// order in which it would be found if they had.
func (t *task) expectation() (found expectation, ok bool, err error) {
	if t.given[keyExpected] == nil || !t.check {
		return found, false, nil
	}
	all, err := expectations(t.given[keyExpected])
	if err != nil {
		return found, false, err
	}
	config, err := client.ContextPath(t.call.Getenv)
	if err != nil {
		return found, false, err
	}
	if address := t.address(); address != "" {
		return pick(all, func(e expectation) bool { return client.SameURL(address, e.URL) })
	}
	all = slices.DeleteFunc(all, func(e expectation) bool { return e.Config != config })
	if name := cmp.Or(t.args.text("context"), t.call.Getenv("MILLWRIGHT_CONTEXT")); name != "" {
		return pick(all, func(e expectation) bool { return e.Context == name })
	}
	contexts, _, err := client.LoadContexts(config)
	if err != nil {
		return found, false, err
	}
	names := contexts.Names()
	for _, e := range all {
		if !slices.Contains(names, e.Context) {
			names = append(names, e.Context)
		}
	}
	if len(names) != 1 { // then, too, the task would have to say which
		return found, false, nil
	}
	return pick(all, func(e expectation) bool { return e.Context == names[0] })
}

// address is the instance's, where the task or its environment gives it.
func (t *task) address() string {
	address := t.args.text("api_url")
	if address == "" && t.args.text("context") == "" {
		address = t.call.Getenv("MILLWRIGHT_URL")
	}
	return address
}

func pick(all []expectation, is func(expectation) bool) (expectation, bool, error) {
	i := slices.IndexFunc(all, is)
	if i < 0 {
		return expectation{}, false, nil
	}
	return all[i], true, nil
}

func expectations(v any) ([]expectation, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read what earlier tasks would bring up: %w", err)
	}
	var all []expectation
	if err := json.NewDecoder(strings.NewReader(string(text))).Decode(&all); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read what earlier tasks would bring up: %w", err)
	}
	return all, nil
}
