package control

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// draftInstall drafts a service whose file is right.
func (d *draft) draftInstall(s spec.Service, next *service) error {
	address := plan.ServiceAddress(s.ID)
	if err := d.name(address); err != nil {
		return err
	}
	was, exists := d.before.services[s.ID]
	owner := ""
	if exists {
		owner = was.record.Owner
	}
	var err error
	if next.record.Owner, err = d.own(address, owner); err != nil {
		return err
	}
	if !exists {
		next.record.Content.Secret = credential.Generate("")
	}
	d.noteService(next)
	desired := d.after.planService(next) // its grants are known when all is drafted
	if s.State == spec.Restarted && exists {
		desired.Restart = true
		next.record.Generation++
	}
	if err := d.compareSecrets(&desired, was); err != nil {
		return err
	}
	if exists {
		d.input.Actual.Services = append(d.input.Actual.Services, d.before.planService(was))
	}
	d.after.services[s.ID] = next
	d.input.Desired.Services = append(d.input.Desired.Services, desired)
	return nil
}

// noteService says what a person should know of a file that is right.
func (d *draft) noteService(s *service) {
	d.diagnostics = append(d.diagnostics, s.warnings...)
	for _, id := range slices.Sorted(maps.Keys(d.after.services)) {
		other := d.after.services[id]
		if id != s.record.ID && s.canonical.Name != "" && other.canonical.Name == s.canonical.Name {
			d.warn("same-name", fmt.Sprintf("service %q has the metadata.name %q too: its topics may come twice", id, s.canonical.Name))
		}
	}
	if !d.opts.ReadOnly {
		return
	}
	for _, r := range s.canonical.Resources {
		if _, writes := r.Properties["write"]; writes && r.Type == "Endpoint" {
			d.warn("read-only", spec.ResourceAddress(s.record.ID, r.Type, r.ID)+" refuses every write: the instance is read-only")
		}
	}
}

// compareSecrets decides whether the caller may learn that a secret differs, and notes it
// if one does. Who has guessed too often gets no answer, whether or not it differs.
func (d *draft) compareSecrets(desired *plan.Service, was *service) error {
	if was == nil || !holdsSecrets(desired.Service) && !holdsSecrets(was.canonical) {
		return nil
	}
	if !d.caller.allows(spec.HTTP, spec.Write, servicesRoute+desired.ID) {
		desired.SecretsNotCompared = true
		d.warnNotCompared(plan.ServiceAddress(desired.ID))
		return nil
	}
	if d.mayProbe != nil {
		return d.mayProbe
	}
	steps := plan.Diff(plan.Input{Desired: plan.State{Services: []plan.Service{*desired}}, Actual: plan.State{Services: []plan.Service{d.before.planService(was)}}})
	d.probed = d.probed || slices.ContainsFunc(steps, func(s plan.Step) bool {
		return slices.ContainsFunc(s.Changes, func(c plan.Change) bool { return c.Sensitive })
	})
	return nil
}

func holdsSecrets(s *commissioning.Service) bool {
	return slices.ContainsFunc(s.Parameters, func(p commissioning.Parameter) bool { return p.Sensitive }) ||
		slices.ContainsFunc(s.Resources, func(r *commissioning.Resource) bool { return holdsSecret(r.Properties) })
}

func holdsSecret(v any) bool {
	switch x := v.(type) {
	case commissioning.Secret:
		return true
	case map[string]any:
		for _, e := range x {
			if holdsSecret(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, holdsSecret)
	}
	return false
}

func (m *model) planService(s *service) plan.Service {
	return plan.Service{Service: s.canonical, Owner: s.record.Owner, Enabled: s.record.Enabled, Grants: m.grants[s.record.ID].permissions}
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
