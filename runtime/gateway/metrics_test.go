package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// gathered are the samples that are ours, as Prometheus would write them.
func gathered(t *testing.T, f control.Figures) string {
	t.Helper()
	families, err := newRegistry(func() control.Figures { return f }).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if strings.HasPrefix(family.GetName(), "millwright_") {
				lines = append(lines, fmt.Sprintf("%s{%s} %v", family.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue()))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestMetrics(t *testing.T) {
	got := gathered(t, control.Figures{
		Broker: &spec.BrokerFigures{Clients: 7},
		Agents: []control.AgentFigures{
			{Name: "hall-2", Online: true, Abandoned: 3, Bus: &spec.BusFigures{Queued: 11, QueuedBytes: 12, Sent: 13, Dropped: 14, Refused: 15}},
			{Name: "here", Online: true},
		},
		Resources: []spec.ResourceStatus{{Service: "press", ID: "temp", Type: "Endpoint", OnTarget: true, Messages: 5}},
	})
	for _, want := range []string{
		"millwright_part_online{part=broker} 1", "millwright_part_online{part=hall-2} 1", "millwright_broker_clients{} 7",
		"millwright_mapper_abandoned_calls_total{agent=hall-2} 3", "millwright_mapper_abandoned_calls_total{agent=here} 0",
		"millwright_bus_queued_messages{agent=hall-2} 11", "millwright_bus_queued_bytes{agent=hall-2} 12",
		"millwright_bus_sent_total{agent=hall-2} 13", "millwright_bus_dropped_total{agent=hall-2} 14", "millwright_bus_refused_total{agent=hall-2} 15",
		"millwright_resource_messages_total{resource=temp,service=press,type=Endpoint} 5",
	} {
		if !strings.Contains(got, want+"\n") && !strings.HasSuffix(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "bus_sent_total{agent=here}") {
		t.Error("a mapper without a bus has figures of one")
	}
}

// Of a silent part there is nothing but that: old figures would look like new ones.
func TestMetricsOfSilentParts(t *testing.T) {
	got := gathered(t, control.Figures{Agents: []control.AgentFigures{{Name: "hall-2", Bus: &spec.BusFigures{Queued: 1}}}})
	if want := "millwright_part_online{part=broker} 0\nmillwright_part_online{part=hall-2} 0"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNeediest(t *testing.T) {
	all := []spec.ClientView{
		{Client: "idle"}, {Client: "waits", Messages: 5}, {Client: "lost", Dropped: 1}, {Client: "lost more", Dropped: 2},
	}
	var names []string
	for _, v := range neediest(all, 3) {
		names = append(names, v.Client)
	}
	if want := []string{"lost more", "lost", "waits"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}
