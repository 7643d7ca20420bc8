package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestRunnerStopsLastStartedFirst(t *testing.T) {
	var order []string // written by one part after the other: each is waited for
	var r runner
	for _, name := range []string{"control", "broker", "mapper"} {
		r.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return nil
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.wait(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mapper", "broker", "control"}; !slices.Equal(order, want) {
		t.Errorf("stopped in order %v, want %v", order, want)
	}
}

func TestRunnerNamesThePartThatFailed(t *testing.T) {
	var r runner
	r.start("broker", func(ctx context.Context) error { <-ctx.Done(); return nil })
	r.start("mapper", func(context.Context) error { return errors.New("out of oil") })
	err := r.wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "mapper") || !strings.Contains(err.Error(), "out of oil") {
		t.Errorf("got %v", err)
	}
}

func TestRunnerTellsOfAnUncleanStop(t *testing.T) {
	var r runner
	r.start("control", func(ctx context.Context) error { <-ctx.Done(); return errors.New("disk is gone") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.wait(ctx); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("got %v", err)
	}
}
