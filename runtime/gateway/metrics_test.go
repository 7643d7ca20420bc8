package gateway

import (
	"testing"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

func TestMetricAbandoned(t *testing.T) {
	families, err := newRegistry(collector{
		brokerStats: func() broker.Stats { return broker.Stats{} },
		resources:   func() []spec.ResourceStatus { return nil },
		abandoned:   func() int64 { return 3 },
	}).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millwright_mapper_abandoned_calls_total" && f.GetMetric()[0].GetCounter().GetValue() == 3 {
			return
		}
	}
	t.Error("the metric is missing")
}
