package gateway

import (
	"context"
	"log/slog"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/expr"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/runtime/control"
)

// PlanEmpty says what applying the request to an instance of this build would do that is not
// there yet; see control.PlanEmpty.
func PlanEmpty(ctx context.Context, log *slog.Logger, readOnly bool, req plan.Request) (plan.Plan, error) {
	return control.PlanEmpty(ctx, control.Options{
		Log: log, Verifier: credential.NewVerifier(), ReadOnly: readOnly, Supports: supports(), CheckExpression: compiles,
		MqttAddress: func() (string, int) { return "broker", 1883 }, // no plan shows it
	}, req)
}

// supports tells the protocols that this build can run from others.
func supports() func(protocol string) bool {
	names := map[string]bool{}
	for _, d := range drivers() {
		names[d.Spec.Name] = true
	}
	return func(protocol string) bool { return names[protocol] }
}

func compiles(expression string) error {
	_, err := expr.Compile(expression)
	return err
}
