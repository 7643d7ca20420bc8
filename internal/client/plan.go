package client

import (
	"context"
	"net/http"
	"time"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// defaultWait is what the server waits for an apply's target states if it is not told.
const defaultWait = 60 * time.Second

// Plan asks what applying the request would do. Nothing changes.
func (c *Client) Plan(ctx context.Context, r plan.Request) (*plan.Plan, error) {
	var p plan.Plan
	err := c.do(ctx, call{method: http.MethodPost, path: "plan", body: r, out: &p, again: true})
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// Apply has the request applied. Its Digest names the plan that was shown, or its Confirm
// is "any". If the state moved so that the plan differs, the error is a *PlanError of kind
// conflict with the new plan; if a step failed, the plan in the answer or in the *PlanError
// says what was and was not done. It is never sent twice.
func (c *Client) Apply(ctx context.Context, r plan.Request) (*plan.Plan, error) {
	wait := defaultWait
	if r.Timeout != "" {
		var err error
		if wait, err = time.ParseDuration(r.Timeout); err != nil || wait < 0 {
			return nil, spec.Errorf(spec.Invalid, "cannot wait for %q: it is no duration such as 60s", r.Timeout)
		}
	}
	var p plan.Plan
	err := c.do(ctx, call{method: http.MethodPost, path: "apply", body: r, out: &p, timeout: wait + applySlack})
	if err != nil {
		return nil, err
	}
	return &p, nil
}
