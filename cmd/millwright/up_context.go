package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/runtime/gateway"
)

// ensureContext writes a context for the instance, unless one is there that still works, and
// returns what to say of it. Another instance that runs keeps its context.
func ensureContext(ctx context.Context, g *gateway.Gateway, log *slog.Logger) (line string, err error) {
	file, err := client.ContextPath(os.Getenv)
	if err != nil {
		return "", err
	}
	contexts, _, err := client.LoadContexts(file) // SaveContext mends the mode that the warning is about
	if err != nil {
		return "", err
	}
	name, line := contextUp, fmt.Sprintf("%s (%s)", contextUp, file)
	if taken := contexts.Contexts[contextUp].URL; otherHas(ctx, contexts, g.URL(), log) {
		name = ownContext(g.URL())
		line = fmt.Sprintf("%s (%s); give it by --context: %q is that of %s", name, file, contextUp, taken)
	}
	if c, ok := contexts.Contexts[name]; ok && c.URL == g.URL() && c.CA == g.AuthorityPEM() && g.Control().TokenValid(ctx, c.Token) {
		return line, nil
	}
	token, err := g.Control().IssueToken(ctx, adminUser, "context "+name, contextTokenTTL)
	if err != nil {
		return "", err
	}
	return line, client.SaveContext(name, client.Context{URL: g.URL(), CA: g.AuthorityPEM(), Token: token.Token})
}

// otherHas reports whether the context "local" is that of another instance: one that runs,
// or this one has a context of its own since it met the other.
func otherHas(ctx context.Context, all client.Contexts, own string, log *slog.Logger) bool {
	local, ok := all.Contexts[contextUp]
	if !ok || local.URL == own {
		return false
	}
	if mine, ok := all.Contexts[ownContext(own)]; ok && mine.URL == own {
		return true
	}
	c, err := client.New(client.Settings{URL: local.URL, CA: []byte(local.CA)}, version, log)
	if err != nil {
		return false // such a context is of no use to anyone
	}
	defer c.Close()
	return c.Alive(ctx)
}

// ownContext is the name of an instance's context where "local" is another's.
func ownContext(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return contextUp
	}
	return contextUp + "-" + u.Port()
}
