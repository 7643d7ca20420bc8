package deployer

import (
	"context"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/spec"
)

// Now is how exactly this instance is reached as long as the pass is not applied: where its
// container has the API, whatever is declared. The settings hold the deployer's token. An
// instance that does not run, or publishes no API, is of kind not_found.
func (d *Deployer) Now(ctx context.Context, p *engine.Pass) (client.Settings, error) {
	access, err := d.engine.AccessNow(ctx, p)
	if err != nil {
		return client.Settings{}, err
	}
	if access.URL == "" {
		return client.Settings{}, spec.Errorf(spec.NotFound, "cannot reach instance %q: it publishes no https", p.Instance.Name).
			WithHint("open the port https")
	}
	return Outcome{URL: access.URL, CACert: access.CA, token: access.Token, Context: d.context(p.Instance.Name)}.Settings(), nil
}
