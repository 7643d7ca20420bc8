package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// Whatever is sent, planning answers a plan or a problem, and never changes anything.
func FuzzPlan(f *testing.F) {
	c, err := New(f.Context(), Options{
		Dir: f.TempDir(), Key: testKey, Log: slog.New(slog.DiscardHandler), Verifier: credential.NewVerifier(),
		MqttAddress: func() (string, int) { return "h", 1 },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.Error(err)
		}
	})
	for _, req := range []plan.Request{
		install("press", press), install("", accounts), install("line", line),
		{Owner: "a", Prune: true, Users: []spec.User{{Username: "u", Password: ptr("12345"), Roles: []string{"admin"}}}},
		{Roles: []spec.Role{{Name: "r", Permissions: []spec.Permission{grant("#", spec.Read)}}}, MaxDisturbance: "none"},
	} {
		text, err := json.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	admin := &caller{username: "admin", permissions: adminRole().Permissions}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := c.answerPlan(t.Context(), body, func(ctx context.Context, _ *caller, req plan.Request) (plan.Plan, error) {
			return c.planOf(ctx, admin, req)
		})
		if err != nil && spec.KindOf(err) == spec.Internal {
			t.Errorf("our fault: %v", err)
		}
		if c.Revision() != 0 {
			t.Error("planning changed something")
		}
	})
}
