package simulator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// press is a machine with one variable of each common type, and the benchmark's variables.
type press struct {
	space   *space
	random  *rand.Rand
	ticks   int64
	counter *node
	bench   []*node

	temperature, running, state, profile, total *node
}

// newPress builds the machine; changed hears of every value that changes.
func newPress(opts Options, changed func([]*node)) *press {
	p := &press{
		space:  newSpace("urn:millwright:simulator:plant", changed),
		random: rand.New(rand.NewPCG(uint64(opts.Seed), 0x5eed)), //nolint:gosec // it must be repeatable
	}
	object := p.space.object("Press")
	p.temperature = p.space.variable(object, "Press.Temperature", id.Double, 180.0)
	p.counter = p.space.variable(object, "Press.Counter", id.Int32, int32(0))
	p.running = p.space.variable(object, "Press.Running", id.Boolean, true)
	p.state = p.space.variable(object, "Press.State", id.String, states[0])
	p.profile = p.space.variable(object, "Press.Profile", id.Double, p.wave())
	p.total = p.space.variable(object, "Press.Total", id.Int64, int64(1)<<53+1)
	p.space.variable(object, "Press.Setpoint", id.Double, 180.0).writable = true
	p.space.method(object, "Press.Reset", p.reset)
	if opts.OPCUAVariables > 0 {
		folder := p.space.object("Bench")
		for n := range opts.OPCUAVariables {
			p.bench = append(p.bench, p.space.variable(folder, fmt.Sprintf("Bench.%d", n), id.Double, float64(n)))
		}
	}
	return p
}

var states = [...]string{"opening", "loading", "closing", "pressing"}

// run moves the machine until ctx ends. The same seed gives the same values, tick by tick.
func (p *press) run(ctx context.Context) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			p.space.update(p.step)
		}
	}
}

// step is one tick: temperature and total always change, the others every so many ticks.
func (p *press) step(set func(*node, any)) {
	p.ticks++
	warm := 180 + 5*math.Sin(float64(p.ticks)/50) + p.random.Float64()
	set(p.temperature, math.Round(warm*100)/100)
	set(p.total, p.total.stored().(int64)+1)
	if p.ticks%5 == 0 {
		set(p.counter, p.counter.stored().(int32)+1)
	}
	if p.ticks%10 == 0 {
		set(p.state, states[p.ticks/10%int64(len(states))])
		set(p.profile, p.wave())
	}
	if p.ticks%100 == 0 {
		set(p.running, !p.running.stored().(bool))
	}
	for n, v := range p.bench {
		set(v, float64(p.ticks)+float64(n)/1000)
	}
}

func (p *press) wave() []float64 {
	profile := make([]float64, 8)
	for i := range profile {
		profile[i] = math.Round(1000*math.Sin(float64(p.ticks)/10+float64(i))) / 1000
	}
	return profile
}

// reset is the method Press.Reset: the counter starts again, and the old count is the answer.
func (p *press) reset() []*ua.Variant {
	var old any
	p.space.update(func(set func(*node, any)) {
		old = p.counter.stored()
		set(p.counter, int32(0))
	})
	return []*ua.Variant{ua.MustVariant(old)}
}
