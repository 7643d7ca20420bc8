package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/control"
)

// collector turns the parts' own counters into Prometheus metrics when they are asked for,
// so that counting costs the data path nothing more. Of a part that is silent there is
// nothing but that.
type collector func() control.Figures

type brokerMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(spec.BrokerFigures) int64
}

func brokerDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("millwright_broker_"+name, help, nil, nil)
}

func brokerMetrics() []brokerMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []brokerMetric{
		{brokerDesc("clients", "MQTT clients that are connected."), gauge, func(s spec.BrokerFigures) int64 { return s.Clients }},
		{brokerDesc("connections", "Network connections that are open, logged in or not."), gauge, func(s spec.BrokerFigures) int64 { return s.Connections }},
		{brokerDesc("queued_messages", "Messages of QoS 1 and 2 that wait on disk."), gauge, func(s spec.BrokerFigures) int64 { return s.MessagesQueued }},
		{brokerDesc("queued_bytes", "Bytes of messages that wait on disk."), gauge, func(s spec.BrokerFigures) int64 { return s.BytesQueued }},
		{brokerDesc("journal_bytes", "Size of the journal on disk."), gauge, func(s spec.BrokerFigures) int64 { return s.JournalBytes }},
		{brokerDesc("storage_failing", "1 while nothing is acknowledged because the disk fails or is full."), gauge, func(s spec.BrokerFigures) int64 { return whether(s.StorageError != "") }},
		{brokerDesc("connects_total", "MQTT connections since the start."), counter, func(s spec.BrokerFigures) int64 { return s.ClientsTotal }},
		{brokerDesc("subscriptions", "Subscriptions that stand."), gauge, func(s spec.BrokerFigures) int64 { return s.Subscriptions }},
		{brokerDesc("retained_messages", "Retained messages."), gauge, func(s spec.BrokerFigures) int64 { return s.Retained }},
		{brokerDesc("messages_received_total", "Application messages taken in."), counter, func(s spec.BrokerFigures) int64 { return s.MessagesReceived }},
		{brokerDesc("messages_sent_total", "Application messages handed to subscribers."), counter, func(s spec.BrokerFigures) int64 { return s.MessagesSent }},
		{brokerDesc("messages_dropped_total", "Copies of messages that a subscriber did not get because of a limit, and retained messages not kept."), counter, func(s spec.BrokerFigures) int64 { return s.MessagesDropped }},
		{brokerDesc("bytes_received_total", "Bytes received from MQTT clients."), counter, func(s spec.BrokerFigures) int64 { return s.BytesReceived }},
		{brokerDesc("bytes_sent_total", "Bytes sent to MQTT clients."), counter, func(s spec.BrokerFigures) int64 { return s.BytesSent }},
		{brokerDesc("refused_total", "Connects, publishes and subscriptions that the policy or a limit refused."), counter, func(s spec.BrokerFigures) int64 { return s.Refused }},
		{brokerDesc("panics_total", "Connections ended by a panic or a malformed packet."), counter, func(s spec.BrokerFigures) int64 { return s.Panics }},
	}
}

func whether(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

func partDesc() *prometheus.Desc {
	return prometheus.NewDesc("millwright_part_online", "1 while the part reports, 0 while it is silent: then there is nothing else of it.", []string{"part"}, nil)
}

func abandonedDesc() *prometheus.Desc {
	return prometheus.NewDesc("millwright_mapper_abandoned_calls_total", "Calls to drivers that were given up because they did not return.", agentLabels, nil)
}

var agentLabels = []string{"agent"}

type busMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(spec.BusFigures) int64
}

func busDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("millwright_bus_"+name, help, agentLabels, nil)
}

// busMetrics are those of a mapper whose broker is in another process.
func busMetrics() []busMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []busMetric{
		{busDesc("queued_messages", "Messages of a mapper that wait for the broker."), gauge, func(s spec.BusFigures) int64 { return s.Queued }},
		{busDesc("queued_bytes", "Bytes of those that wait on disk."), gauge, func(s spec.BusFigures) int64 { return s.QueuedBytes }},
		{busDesc("sent_total", "Messages of a mapper that the broker has taken."), counter, func(s spec.BusFigures) int64 { return s.Sent }},
		{busDesc("dropped_total", "Messages of a mapper that were lost: past the bounds of bytes and age, or the disk did not take them."), counter, func(s spec.BusFigures) int64 { return s.Dropped }},
		{busDesc("refused_total", "Messages of a mapper that the broker refused, or that are too large for it."), counter, func(s spec.BusFigures) int64 { return s.Refused }},
	}
}

var resourceLabels = []string{"service", "resource", "type"}

type resourceMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(spec.ResourceStatus) float64
}

func resourceDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("millwright_resource_"+name, help, resourceLabels, nil)
}

func resourceMetrics() []resourceMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []resourceMetric{
		{resourceDesc("on_target", "1 where the resource is as it should be, else 0."), gauge, onTarget},
		{resourceDesc("last_value_timestamp_seconds", "When the last value came, unix time; 0 before the first."), gauge, lastValueSeconds},
		{resourceDesc("messages_total", "Messages since the resource's start."), counter, func(s spec.ResourceStatus) float64 { return float64(s.Messages) }},
		{resourceDesc("errors_total", "Errors since the resource's start."), counter, func(s spec.ResourceStatus) float64 { return float64(s.Errors) }},
		{resourceDesc("dropped_total", "Messages dropped by a failing rule, an unset variable or a refused publish."), counter, func(s spec.ResourceStatus) float64 { return float64(s.Dropped) }},
		{resourceDesc("skipped_polls_total", "Polls that came due while the one before was running."), counter, func(s spec.ResourceStatus) float64 { return float64(s.Skipped) }},
		{resourceDesc("connects_total", "Sessions that a connection has opened."), counter, func(s spec.ResourceStatus) float64 { return float64(s.Connects) }},
	}
}

func onTarget(s spec.ResourceStatus) float64 {
	if s.OnTarget {
		return 1
	}
	return 0
}

func lastValueSeconds(s spec.ResourceStatus) float64 {
	if s.LastValueAt.IsZero() {
		return 0
	}
	return float64(s.LastValueAt.UnixMilli()) / 1000
}

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range brokerMetrics() {
		descs <- m.desc
	}
	for _, m := range busMetrics() {
		descs <- m.desc
	}
	for _, m := range resourceMetrics() {
		descs <- m.desc
	}
	descs <- abandonedDesc()
	descs <- partDesc()
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	figures := c()
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	gauge(partDesc(), whether(figures.Broker != nil), spec.BrokerPart)
	if figures.Broker != nil {
		for _, m := range brokerMetrics() {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(*figures.Broker)))
		}
	}
	for _, a := range figures.Agents {
		gauge(partDesc(), whether(a.Online), a.Name)
		collectAgent(metrics, a)
	}
	for _, s := range figures.Resources {
		for _, m := range resourceMetrics() {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), s.Service, s.ID, s.Type)
		}
	}
}

func collectAgent(metrics chan<- prometheus.Metric, a control.AgentFigures) {
	if !a.Online {
		return
	}
	metrics <- prometheus.MustNewConstMetric(abandonedDesc(), prometheus.CounterValue, float64(a.Abandoned), a.Name)
	if a.Bus == nil {
		return
	}
	for _, m := range busMetrics() {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(*a.Bus)), a.Name)
	}
}

func newRegistry(c collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
