package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func (d *draft) draftAbsent(s spec.Service) error {
	address := plan.ServiceAddress(s.ID)
	if err := d.name(address); err != nil {
		return err
	}
	was, exists := d.before.services[s.ID]
	if !exists {
		return nil
	}
	if _, err := d.own(address, was.record.Owner); err != nil {
		return err
	}
	d.input.Actual.Services = append(d.input.Actual.Services, d.before.planService(was))
	delete(d.after.services, s.ID)
	return nil
}

// candidate is the record that the service would have: what is not given is kept.
func (d *draft) candidate(s spec.Service) (serviceRecord, error) {
	was, exists := d.before.services[s.ID]
	record := serviceRecord{ID: s.ID, Enabled: true}
	if exists {
		record = was.record
	} else if s.Commissioning == "" {
		kind := spec.Invalid
		if s.State == spec.Restarted || s.State == spec.Disabled || s.State == spec.Enabled || s.State == spec.Present {
			kind = spec.NotFound
		}
		return record, spec.Errorf(kind, "cannot install service %q: it is not there yet, and no commissioning file is given", s.ID)
	}
	if s.Commissioning != "" {
		record.Content.Source = s.Commissioning
		record.Content.FileName = cmp.Or(s.CommissioningFile, record.Content.FileName, s.ID+".yml")
	}
	if err := d.draftParameters(s, &record.Content); err != nil {
		return record, err
	}
	switch s.State {
	case spec.Enabled, spec.Restarted, "":
		record.Enabled = true
	case spec.Disabled:
		record.Enabled = false
	}
	return record, nil
}

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
			d.warn(plan.ServiceAddress(s.record.ID), "same-name", fmt.Sprintf("service %q has the metadata.name %q too: its topics may come twice", id, s.canonical.Name))
		}
	}
	if !d.opts.ReadOnly {
		return
	}
	for _, r := range s.canonical.Resources {
		if _, writes := r.Properties["write"]; writes && r.Type == "Endpoint" {
			d.warn(spec.ResourceAddress(s.record.ID, r.Type, r.ID), "read-only", "it refuses every write: the instance is read-only")
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
	return plan.Service{
		Service: s.canonical, Owner: s.record.Owner, Enabled: s.record.Enabled, Grants: m.grants[s.record.ID].permissions,
		SecretParameters: s.record.Content.SecretNames, SecretLabel: s.record.Content.SecretLabel,
	}
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
