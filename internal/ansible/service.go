package ansible

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func serviceModule() *Module {
	return &Module{
		Name: "service", Short: "Manage a service of a Millwright instance", Connection: true,
		Description: []string{
			"Installs, changes, disables and removes a service: what one commissioning file declares.",
			"Only the resources that differ are changed, and only they are disturbed; check mode with I(diff) says which these are.",
		},
		Options:           serviceOptions(),
		MutuallyExclusive: [][]string{{"commissioning_file", "commissioning"}},
		Notes: []string{
			"A machine that is switched off fails nothing unless I(wait_for) says so. The result then has a warning that names the connection and its last error.",
		},
		SeeAlso:  []string{"service_info", "user", "role"},
		Examples: serviceExamples,
		Returns: []Return{{
			Name: "service", Type: Dict, Returned: "when the service exists afterwards", Doc: "The service as it is: its state, the number of its resources, those that deviate, and links.",
			Sample: map[string]any{"id": "press", "name": "Press", "state": "enabled", "enabled": true, "owner": "api", "resources": int64(3)},
		}},
		run: runService,
	}
}

func serviceOptions() []Option {
	return []Option{
		{Name: "id", Type: Str, Required: true, Doc: []string{"The service's id: a letter or digit, then letters, digits, C(_) and C(.)."}},
		{Name: "commissioning_file", Type: Path, Doc: []string{
			"The commissioning file. It is read on the controller, beside the playbook or below its C(files), and may be encrypted with Ansible Vault; or on the target with I(remote_src).",
			"Required for a service that is not installed yet, unless I(commissioning) is given.",
		}},
		{Name: "commissioning", Type: Str, Hidden: true, Doc: []string{"The text of the commissioning file itself."}},
		{Name: "remote_src", Type: Bool, Default: false, Doc: []string{"Read I(commissioning_file) on the target."}},
		{Name: "parameters", Type: Dict, Hidden: true, Doc: []string{
			"Values of the file's parameters, all of them: one that is not given gets its default.",
			"Not given at all, the installed values are kept. Which ones are secret is known only from the file, so that none of them is shown in a task's invocation.",
		}},
		{
			Name: "state", Type: Str, Default: "enabled",
			Choices: []string{"enabled", "started", "present", "disabled", "stopped", "restarted", "absent"},
			Doc: []string{
				"C(enabled), or C(started): installed, and running. C(present): installed; whether it runs is left alone.",
				"C(disabled), or C(stopped): installed, not running. C(restarted): stopped and started; this is always a change.",
				"C(absent): removed. With C(disabled), C(restarted) and C(absent) an installed service's file and parameters are not compared.",
			},
		},
		{Name: "wait_for", Type: Str, Default: "installed", Choices: []string{"installed", "connected", "data"}, Doc: []string{
			"C(installed): the runtime has taken over every resource. C(connected): every connection is connected.",
			"C(data): every subscribing endpoint has delivered once.",
		}},
		{Name: "wait_timeout", Type: Int, Default: int64(60), Doc: []string{"Seconds to wait for that."}},
		{Name: "delete_volumes", Type: Bool, Default: false, Doc: []string{"With I(state=absent), delete the volumes of the service's containers too."}},
		{Name: "allow_unsupported", Type: Bool, Default: false, Doc: []string{
			"Install what this version can run of a file. Else a resource of a kind that it cannot run fails the task, before anything is changed.",
		}},
	}
}

const serviceExamples = `- name: Install a service from a file beside the playbook
  millwright.shopfloor.service:
    id: press
    commissioning_file: ./press.yml
    parameters:
      host: 10.0.0.7
      password: "{{ vault_press_password }}"

- name: Change it only if no connection is cut, and wait until data arrives
  millwright.shopfloor.service:
    id: press
    commissioning_file: ./press.yml
    max_disturbance: endpoint
    wait_for: data

- name: The press is being repaired
  millwright.shopfloor.service:
    id: press
    state: stopped

- name: The press is gone
  millwright.shopfloor.service:
    id: press
    state: absent
`

type serviceArguments struct {
	ID               string         `json:"id"`
	Parameters       map[string]any `json:"parameters"`
	State            string         `json:"state"`
	WaitFor          plan.WaitFor   `json:"wait_for"`
	DeleteVolumes    bool           `json:"delete_volumes"`
	AllowUnsupported bool           `json:"allow_unsupported"`
}

// desiredState resolves the names that the states of an instance have for those of a service.
func desiredState(state string) spec.State {
	switch state {
	case "started":
		return spec.Enabled
	case "stopped":
		return spec.Disabled
	}
	return spec.State(state)
}

func runService(ctx context.Context, t *task) error {
	a, err := decode[serviceArguments](t.args)
	if err != nil {
		return err
	}
	r := plan.Request{AllowUnsupported: a.AllowUnsupported, Wait: a.WaitFor}
	desired, err := t.desired(ctx, a)
	if err != nil {
		return err
	}
	if desired.State == spec.Absent || desired.State == spec.Disabled {
		r.Wait = "" // there is nothing that could connect
	}
	r.Services = []spec.Service{desired}
	if err := t.bring(ctx, r); err != nil {
		return err
	}
	return show(ctx, t, "service", t.client.Services(), a.ID, "commissioning", "parameters", "grants")
}

// desired is what is asked for: of a service that is there, for some states that alone.
func (t *task) desired(ctx context.Context, a serviceArguments) (spec.Service, error) {
	s := spec.Service{ID: a.ID, State: desiredState(a.State)}
	switch s.State {
	case spec.Absent:
		s.DeleteVolumes = a.DeleteVolumes
		return s, nil
	case spec.Disabled, spec.Restarted:
		if installed, err := t.installed(ctx, a.ID); installed || err != nil {
			return s, err
		}
	}
	s.Parameters = a.Parameters
	err := t.addFile(&s)
	return s, err
}

// installed reports whether the service is there.
func (t *task) installed(ctx context.Context, id string) (bool, error) {
	_, err := ask(ctx, t, func(ctx context.Context) (spec.ServiceView, error) { return t.client.Services().Get(ctx, id) })
	if spec.KindOf(err) == spec.NotFound {
		return false, nil
	}
	return err == nil, err
}

// addFile adds the commissioning file, and notes which parameters are secret.
func (t *task) addFile(s *spec.Service) error {
	s.Commissioning = t.args.text("commissioning")
	path := t.args.text("commissioning_file")
	if read, ok := t.files["commissioning_file"]; ok {
		s.Commissioning, s.CommissioningFile = string(read.text), read.name
	} else if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return unreadable(path, err)
		}
		s.Commissioning, s.CommissioningFile = string(text), path
	}
	if path != "" && s.Commissioning == "" {
		return spec.Errorf(spec.Invalid, "cannot install service %q: %q is empty", s.ID, path)
	}
	t.noteSecrets(*s)
	return nil
}

func unreadable(path string, err error) error {
	reason := err
	var detail *fs.PathError
	if errors.As(err, &detail) {
		reason = detail.Err
	}
	e := spec.Errorf(spec.Invalid, "cannot read the commissioning file %q on the target: %w", path, reason)
	if errors.Is(err, fs.ErrNotExist) {
		return e.WithHint("with remote_src the file is read on the target; leave it out to have it read on the controller")
	}
	return e
}

// noteSecrets has the given values of the file's sensitive parameters masked. Where the file
// is not known, or wrong, any of them may be one.
func (t *task) noteSecrets(s spec.Service) {
	if len(s.Parameters) == 0 {
		return
	}
	sensitive := map[string]bool{}
	known := false
	if parsed, _ := commissioning.Parse(s.CommissioningFile, []byte(s.Commissioning)); parsed != nil {
		if service, _ := parsed.Evaluate(commissioning.Input{ID: s.ID, Parameters: s.Parameters, AllowMissing: true}); service != nil {
			known = true
			for _, p := range service.Parameters {
				sensitive[p.Name] = p.Sensitive
			}
		}
	}
	for name, value := range s.Parameters {
		if _, declared := sensitive[name]; !known || sensitive[name] || !declared {
			t.secrets.add(longTexts(value))
		}
	}
}

// longTexts are the texts in v that are long enough to be a secret; shorter ones would be
// masked in every word of the result.
func longTexts(v any) any {
	const shortest = 4
	switch x := v.(type) {
	case string:
		if len(x) >= shortest {
			return x
		}
	case []any:
		texts := make([]any, 0, len(x))
		for _, e := range x {
			texts = append(texts, longTexts(e))
		}
		return texts
	case map[string]any:
		return longTexts(slices.Collect(maps.Values(x)))
	}
	return nil
}
