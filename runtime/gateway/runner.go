package gateway

import (
	"context"
	"fmt"
	"slices"
)

// runner runs parts side by side and stops them one by one, the last started first.
type runner struct {
	parts []part
	ended chan partEnd
}

type part struct {
	name string
	stop context.CancelFunc
	done chan struct{}
}

type partEnd struct {
	name string
	err  error
}

// start runs a part in a goroutine of its own, with a context that ends when its turn to
// stop has come.
func (r *runner) start(name string, run func(context.Context) error) {
	if r.ended == nil {
		r.ended = make(chan partEnd, maxParts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := part{name: name, stop: cancel, done: make(chan struct{})}
	r.parts = append(r.parts, p)
	go func() {
		defer close(p.done)
		r.ended <- partEnd{name, run(ctx)}
	}()
}

// maxParts bounds how many parts end without anybody waiting.
const maxParts = 10

// wait returns when ctx has ended, or a part has, and all parts are stopped. A part that
// ends by itself is a failure.
func (r *runner) wait(ctx context.Context) error {
	var failure error
	select {
	case <-ctx.Done():
	case end := <-r.ended:
		failure = fmt.Errorf("the %s part ended by itself: %w", end.name, end.err)
		if end.err == nil {
			failure = fmt.Errorf("the %s part ended by itself", end.name)
		}
	}
	for _, p := range slices.Backward(r.parts) {
		p.stop()
		<-p.done
	}
	close(r.ended)
	for end := range r.ended {
		if end.err != nil && failure == nil {
			failure = fmt.Errorf("the %s part did not stop cleanly: %w", end.name, end.err)
		}
	}
	return failure
}
