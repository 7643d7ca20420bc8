package control

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/spec"
)

// registerClients: how each client of the broker fares.
func (c *Control) registerClients(api huma.API) {
	register(c, api, operation{
		id: "list-clients", method: http.MethodGet, path: "/clients",
		summary: "List the sessions at the broker: what waits for each, and what it lost; of a broker in a process of its own the 200 that lost most or have most waiting",
	}, func(_ context.Context, in *listInput) (*listOutput[spec.ClientView], error) {
		views, err := c.clients()
		if err != nil {
			return nil, err
		}
		return page(in, c.Revision(), sortedKeys(views), func(key string) (spec.ClientView, bool) { return views[key], true })
	})
}
