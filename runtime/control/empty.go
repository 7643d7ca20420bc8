package control

import (
	"context"
	"time"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// PlanEmpty says what applying the request to an instance that is not there yet would do: one
// that holds nothing but its first admin, whose password is not known. It is what that instance
// will itself answer its admin, if it is of this build. There is no store; of the options only
// those are used that say what the instance can run. Errors are those of a plan.
func PlanEmpty(ctx context.Context, opts Options, req plan.Request) (plan.Plan, error) {
	if opts.Log == nil || opts.Verifier == nil || opts.MqttAddress == nil {
		return plan.Plan{}, spec.Errorf(spec.Internal, "cannot plan without log, verifier and MQTT address")
	}
	c := &Control{opts: opts, probes: credential.NewLimiter(1, time.Second)}
	m := &model{
		roles: map[string]roleRecord{}, users: map[string]userRecord{}, parts: map[string]partRecord{},
		services: map[string]*service{}, bound: map[string][]spec.Resource{}, grants: map[string]granted{},
	}
	admin := newAdmin()
	admin.Password = credential.HashGenerated(credential.Generate(""))
	m.users[admin.Name] = admin
	c.bring(m)
	c.model.Store(m)
	return c.planOf(ctx, &caller{username: admin.Name, permissions: adminRole().Permissions}, req)
}
