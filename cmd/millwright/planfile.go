package main

import (
	"bytes"
	"encoding/json"

	"github.com/millwright/millwright/internal/atomicfile"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// planFileFormat is raised when an older program could not read a plan file rightly.
const planFileFormat = 1

// planFile is what `plan --out` writes: what the plan was made of, by name and fingerprint,
// and the plan. It holds no secret; apply reads the sources again and refuses changed ones.
type planFile struct {
	Format    int           `json:"format"`
	WrittenBy string        `json:"written_by"`
	Input     plannedInput  `json:"input"`
	Sources   []fingerprint `json:"sources"`
	Plan      plan.Plan     `json:"plan"`
}

// plannedInput is the part of inputOptions that a plan file keeps. Parameters that the file
// declares sensitive are named, not kept: apply is given them again.
type plannedInput struct {
	Files            []string         `json:"files"`
	ID               string           `json:"id,omitempty"`
	Set              []string         `json:"set,omitempty"`
	SetAgain         []string         `json:"set_again,omitempty"`
	ParametersFile   string           `json:"parameters_file,omitempty"`
	Prune            bool             `json:"prune,omitempty"`
	Adopt            bool             `json:"adopt,omitempty"`
	AllowUnsupported bool             `json:"allow_unsupported,omitempty"`
	MaxDisturbance   plan.Disturbance `json:"max_disturbance,omitempty"`
}

// writePlanFile keeps the plan and what it was made of, readable for the owner alone.
func writePlanFile(path string, opts *inputOptions, in *input, p plan.Plan) error {
	fingerprints, err := in.sources.fingerprints()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(planFile{
		Format: planFileFormat, WrittenBy: version, Input: opts.planned(in), Sources: fingerprints, Plan: p,
	}, "", "  ")
	if err != nil {
		return spec.Errorf(spec.Internal, "cannot write the plan file: %w", err)
	}
	if err := atomicfile.Write(path, append(text, '\n'), 0o600); err != nil {
		return spec.Errorf(spec.Invalid, "cannot write the plan file %q: %w", path, err)
	}
	return nil
}

func readPlanFile(path string) (*planFile, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var f planFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // the plan shows its numbers as they are
	if err := d.Decode(&f); err != nil || f.Format < 1 {
		return nil, spec.Errorf(spec.Invalid, "cannot read %q: it is no plan file", path).
			WithHint("`millwright plan --out FILE` writes one")
	}
	if f.Format > planFileFormat {
		return nil, spec.Errorf(spec.Invalid, "cannot read the plan file %q: version %s wrote it, in a newer format", path, f.WrittenBy)
	}
	return &f, nil
}

// planned drops the values of sensitive parameters.
func (o *inputOptions) planned(in *input) plannedInput {
	p := plannedInput{
		Files: o.files, ID: o.id, ParametersFile: o.parametersFile, Prune: o.prune, Adopt: o.adopt,
		AllowUnsupported: o.allowUnsupported, MaxDisturbance: plan.Disturbance(o.maxDisturbance),
	}
	for _, a := range in.set {
		if in.sensitive[a.name] {
			p.SetAgain = append(p.SetAgain, a.name)
		} else {
			p.Set = append(p.Set, a.name+"="+a.text)
		}
	}
	return p
}

// restore makes the options again, with those values that apply was given again.
func (o *inputOptions) restore(p plannedInput) error {
	if len(o.files) > 0 || o.id != "" || o.parametersFile != "" || o.prune || o.adopt || o.allowUnsupported || o.maxDisturbance != "" {
		return spec.Errorf(spec.Invalid, "cannot change a reviewed plan: --plan goes without FILE, --id, --parameters-file, --prune, --adopt, --allow-unsupported and --max-disturbance")
	}
	again, err := assignments("--set", o.set)
	if err != nil {
		return err
	}
	given := map[string]bool{}
	for _, a := range again {
		given[a.name] = true
	}
	for _, name := range p.SetAgain {
		if !given[name] {
			return spec.Errorf(spec.Invalid, "cannot apply the plan without parameter %q: it is sensitive and not kept in the plan file", name).
				WithHint("give it again by --set %s=..., or by MILLWRIGHT_SET", name)
		}
		delete(given, name)
	}
	for name := range given {
		return spec.Errorf(spec.Invalid, "cannot set %q: the reviewed plan has its own value, or none", name)
	}
	o.files, o.id, o.parametersFile = p.Files, p.ID, p.ParametersFile
	o.set = append(p.Set, o.set...)
	o.prune, o.adopt, o.allowUnsupported, o.maxDisturbance = p.Prune, p.Adopt, p.AllowUnsupported, string(p.MaxDisturbance)
	return nil
}
