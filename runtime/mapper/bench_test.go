package mapper

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// countingBus takes everything and counts.
type countingBus struct {
	taken atomic.Int64
	want  int64
	done  chan struct{}
}

func (b *countingBus) Publish(context.Context, string, Message) error {
	if b.taken.Add(1) == b.want {
		close(b.done)
	}
	return nil
}

func (b *countingBus) Subscribe(context.Context, string, string, byte, func(Message)) (func(), error) {
	return func() {}, nil
}

// BenchmarkMessages measures pushed values of 1,000 endpoints from the driver to the bus; one operation is
// one message.
func BenchmarkMessages(b *testing.B) {
	for name, more := range map[string]string{
		"plain": "",
		"rules": `"rules":[{"transform":{"expression":"{\"value\": value + 1}"}}]`,
	} {
		b.Run(name, func(b *testing.B) { benchmarkMessages(b, more) })
	}
}

func benchmarkMessages(b *testing.B, more string) {
	r := newRig(b)
	bus := &countingBus{want: int64(b.N), done: make(chan struct{})}
	r.opts.Bus = bus
	r.opts.Log = slog.New(slog.DiscardHandler)
	all := []spec.Resource{plc()}
	for i := range 1000 {
		if more == "" {
			all = append(all, pushed(fmt.Sprint("e", i)))
			continue
		}
		all = append(all, pushed(fmt.Sprint("e", i), more))
	}
	r.watch.set(all...)
	r.run()
	defer r.stop()
	for r.machine.standing() < 1000 {
		<-time.After(time.Millisecond)
	}
	subs := r.machine.deliveries()
	b.ReportAllocs()
	b.ResetTimer()
	var producers sync.WaitGroup
	for p := range 2 {
		producers.Go(func() {
			for i := p; i < b.N; i += 2 {
				subs[i%1000](Result{Time: time.Now(), Value: float64(i)})
			}
		})
	}
	producers.Wait()
	<-bus.done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkPoll measures 10,000 polled endpoints of one schedule; one operation is one poll of all.
func BenchmarkPoll(b *testing.B) {
	r := newRig(b)
	bus := &countingBus{want: int64(b.N) * 10000, done: make(chan struct{})}
	r.opts.Bus = bus
	all := []spec.Resource{plc()}
	for i := range 10000 {
		all = append(all, polled(fmt.Sprint("e", i), 1))
	}
	r.watch.set(all...)
	b.ResetTimer()
	r.run()
	defer r.stop()
	<-bus.done
	b.ReportMetric(float64(b.N)*10000/b.Elapsed().Seconds(), "values/s")
}

func (m *fakeMachine) standing() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return 0
	}
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	return len(m.session.subs)
}

func (m *fakeMachine) deliveries() []func(Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	var all []func(Result)
	for _, s := range m.session.subs {
		all = append(all, s.Deliver)
	}
	return all
}
