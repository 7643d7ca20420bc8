package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

// New makes a plan of steps, with its digest.
func New(revision int64, steps []Step) (Plan, error) {
	digest, err := digestOf(steps)
	if err != nil {
		return Plan{}, err
	}
	if steps == nil {
		steps = []Step{}
	}
	return Plan{Revision: revision, Digest: digest, Steps: steps}, nil
}

// digestOf names the steps, whatever the revision. Results are left out, and so is what was
// not compared: a plan made by somebody who may only read has the digest of the plan that
// is applied, unless a secret changed. No secret is in it, since no step holds one.
func digestOf(steps []Step) (string, error) {
	named := make([]Step, 0, len(steps))
	for _, s := range steps {
		s.Result, s.Error = "", ""
		s.Changes = slices.DeleteFunc(slices.Clone(s.Changes), func(c Change) bool { return c.NotCompared })
		named = append(named, s)
	}
	text, err := json.Marshal(named)
	if err != nil {
		return "", spec.Errorf(spec.Internal, "cannot make a plan's digest: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Order of the disturbances, from least to most.
func (d Disturbance) rank() int {
	return slices.Index([]Disturbance{
		DisturbsNone, DisturbsEndpoint, DisturbsConnection, DisturbsContainer, DisturbsService, DisturbsInstance,
	}, d)
}

// Check refuses what is no disturbance.
func (d Disturbance) Check() error {
	if d.rank() < 0 {
		return spec.Errorf(spec.Invalid, "cannot use disturbance %q: it is none, endpoint, connection, container, service or instance", d)
	}
	return nil
}

// Exceeds reports whether d disturbs more than limit.
func (d Disturbance) Exceeds(limit Disturbance) bool { return d.rank() > limit.rank() }

// MaxDisturbance is the greatest of all steps.
func (p Plan) MaxDisturbance() Disturbance {
	most := DisturbsNone
	for _, s := range p.Steps {
		if s.Disturbs.Exceeds(most) {
			most = s.Disturbs
		}
	}
	return most
}

// Unsupported lists the addresses of the steps that this build cannot run.
func (p Plan) Unsupported() []string {
	var addresses []string
	for _, s := range p.Steps {
		if s.Unsupported != "" {
			addresses = append(addresses, s.Address)
		}
	}
	return addresses
}

// Counts are the numbers of objects and resources that come, change (or are replaced) and go.
type Counts struct {
	Create int `json:"create"`
	Update int `json:"update"`
	Delete int `json:"delete"`
}

// Counts counts the steps.
func (p Plan) Counts() Counts {
	var c Counts
	for _, s := range p.Steps {
		switch s.Symbol {
		case Create:
			c.Create++
		case Delete:
			c.Delete++
		default:
			c.Update++
		}
	}
	return c
}

// GitLab renders the report that GitLab's merge requests show for Terraform plans.
func (p Plan) GitLab() ([]byte, error) { return json.Marshal(p.Counts()) }
