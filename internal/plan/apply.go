package plan

import (
	"context"
	"slices"
	"strings"
)

// Target carries out plans.
type Target interface {
	// ApplyObject carries out all steps of one object ("service/press"), whole or not at all.
	ApplyObject(ctx context.Context, address string, steps []Step) error
}

// Apply walks the plan object by object and stops at the first failure; what comes after it
// is skipped. The returned plan has each step's result; report, if not nil, gets each step
// as soon as it is known. The error is that of the object that failed.
func Apply(ctx context.Context, p Plan, target Target, report func(Step)) (Plan, error) {
	p.Steps = slices.Clone(p.Steps)
	var failure error
	for first := 0; first < len(p.Steps); {
		object := objectOf(p.Steps[first].Address)
		last := first + 1
		for last < len(p.Steps) && objectOf(p.Steps[last].Address) == object {
			last++
		}
		steps := p.Steps[first:last]
		result := Skipped
		if failure == nil {
			result, failure = applyObject(ctx, target, object, steps)
		}
		mark(steps, result, failure, report)
		first = last
	}
	p.Applied = failure == nil
	return p, failure
}

func applyObject(ctx context.Context, target Target, object string, steps []Step) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Failed, err
	}
	if err := target.ApplyObject(ctx, object, steps); err != nil {
		return Failed, err
	}
	return Done, nil
}

func mark(steps []Step, result Result, failure error, report func(Step)) {
	for i := range steps {
		steps[i].Result = result
		if result == Failed && i == 0 {
			steps[i].Error = failure.Error()
		}
		if report != nil {
			report(steps[i])
		}
	}
}

// objectOf is the object that an address belongs to: "service/press" of "service/press/endpoint/temp".
func objectOf(address string) string {
	parts := strings.SplitN(address, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
