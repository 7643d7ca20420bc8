package gateway

import (
	"context"
	"time"

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

// watchAgain is how long after a failed subscription the next one is tried.
const watchAgain = time.Second

// watchValues delivers what is published below services/, as soon as the broker is there and
// knows who reads it.
func (g *Gateway) watchValues(ctx context.Context, deliver func(web.Message)) (func(), error) {
	if g.broker != nil {
		select {
		case <-g.broker.Synced():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for {
		stop, err := messages{gateway: g}.Subscribe(ctx, "services/#", func(m control.Message) {
			deliver(web.Message{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain})
		})
		if err == nil || g.broker != nil {
			return stop, err
		}
		g.log.Debug("the page waits for the broker", "error", err)
		timer := time.NewTimer(watchAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
