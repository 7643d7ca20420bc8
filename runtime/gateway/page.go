package gateway

import (
	"context"

	"github.com/millwright/millwright/runtime/control"
	"github.com/millwright/millwright/runtime/web"
)

func (g *Gateway) newPage() (*web.Page, error) {
	return web.New(web.Options{
		Login: g.control.Login,
		Session: func(ctx context.Context, token string) (web.Session, error) {
			s, err := g.control.Session(ctx, token)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Topics:    g.control.EndpointTopics,
		Subscribe: g.watchValues,
		Log:       g.log.With("part", "page"),
		Version:   g.opts.Version,
	})
}

// watchValues delivers what is published below services/, as soon as the broker knows who reads it.
func (g *Gateway) watchValues(ctx context.Context, deliver func(web.Message)) (func(), error) {
	select {
	case <-g.broker.Synced():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return messages{gateway: g}.Subscribe(ctx, "services/#", func(m control.Message) {
		deliver(web.Message{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain})
	})
}
