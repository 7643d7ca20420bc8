package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/broker"
)

// limit is one bound that `millwright up --limit NAME=VALUE` sets; docs/reference/limits.md
// is made from the list. Exactly one of count and span is set.
type limit struct {
	name  string
	doc   string
	count func(*broker.Limits) *int
	span  func(*broker.Limits) *time.Duration
}

func limits() []limit {
	type L = broker.Limits
	return []limit{
		{name: "broker.connections", doc: "Open MQTT connections.", count: func(l *L) *int { return &l.Connections }},
		{name: "broker.connect-timeout", doc: "Time from accepting a connection to its CONNECT.", span: func(l *L) *time.Duration { return &l.ConnectTimeout }},
		{name: "broker.packet-bytes", doc: "Largest MQTT packet that is taken in.", count: func(l *L) *int { return &l.PacketBytes }},
		{name: "broker.sessions", doc: "MQTT sessions, connected or not.", count: func(l *L) *int { return &l.Sessions }},
		{name: "broker.subscriptions", doc: "Subscriptions of one client.", count: func(l *L) *int { return &l.Subscriptions }},
		{name: "broker.inflight", doc: "Unacknowledged QoS 1 and 2 messages to or from one client.", count: func(l *L) *int { return &l.Inflight }},
		{name: "broker.keep-alive", doc: "Longest time that a client of MQTT 5 may be silent.", span: func(l *L) *time.Duration { return &l.KeepAlive }},
		{name: "broker.subscription-bytes", doc: "Bytes of the filters of one client, with 400 for each.", count: func(l *L) *int { return &l.SubscriptionBytes }},
		{name: "broker.total-subscription-bytes", doc: "Bytes of the filters of all clients.", count: func(l *L) *int { return &l.TotalSubscriptionBytes }},
		{name: "broker.total-packet-bytes", doc: "Bytes of all large packets that are being read.", count: func(l *L) *int { return &l.TotalPacketBytes }},
		{name: "broker.buffer-messages", doc: "Messages of QoS 0 that wait in memory for one client.", count: func(l *L) *int { return &l.BufferMessages }},
		{name: "broker.buffer-bytes", doc: "Bytes that wait in memory for one client.", count: func(l *L) *int { return &l.BufferBytes }},
		{name: "broker.total-buffer-bytes", doc: "Bytes that wait in memory for all clients together.", count: func(l *L) *int { return &l.TotalBufferBytes }},
		{name: "broker.queue-messages", doc: "Messages of QoS 1 and 2 that wait on disk for one client.", count: func(l *L) *int { return &l.QueueMessages }},
		{name: "broker.queue-bytes", doc: "Bytes that wait on disk for one client.", count: func(l *L) *int { return &l.QueueBytes }},
		{name: "broker.queue-age", doc: "How long a message waits on disk for a client that is not connected.", span: func(l *L) *time.Duration { return &l.QueueAge }},
		{name: "broker.total-queue-bytes", doc: "Bytes that wait on disk for all clients together.", count: func(l *L) *int { return &l.TotalQueueBytes }},
		{name: "broker.local-messages", doc: "Messages that wait for one subscriber within the process (a mapping, a request).", count: func(l *L) *int { return &l.LocalMessages }},
		{name: "broker.local-bytes", doc: "Bytes that wait for one subscriber within the process.", count: func(l *L) *int { return &l.LocalBytes }},
		{name: "broker.retained-messages", doc: "Retained messages.", count: func(l *L) *int { return &l.RetainedMessages }},
		{name: "broker.retained-bytes", doc: "Bytes of all retained messages.", count: func(l *L) *int { return &l.RetainedBytes }},
	}
}

// value returns the limit's value in l, as text.
func (x limit) value(l *broker.Limits) string {
	if x.span != nil {
		return x.span(l).String()
	}
	return strconv.Itoa(*x.count(l))
}

func (x limit) set(l *broker.Limits, text string) error {
	if x.span != nil {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return spec.Errorf(spec.Invalid, "cannot set limit %s to %q: it is a duration above 0, such as 10s", x.name, text)
		}
		*x.span(l) = d
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 41)
	if err != nil || n <= 0 {
		return spec.Errorf(spec.Invalid, "cannot set limit %s to %q: it is a whole number from 1 to 1099511627775", x.name, text)
	}
	*x.count(l) = int(n)
	return nil
}

// ParseLimits reads settings of the form NAME=VALUE; what is not named keeps its default.
func ParseLimits(settings []string) (broker.Limits, error) {
	var l broker.Limits
	known := limits()
	for _, s := range settings {
		name, text, _ := strings.Cut(s, "=")
		i := slices.IndexFunc(known, func(x limit) bool { return x.name == name })
		if i < 0 {
			return l, spec.Errorf(spec.Invalid, "cannot set limit %q: there is none of that name", name).
				WithHint("the names are listed in docs/reference/limits.md")
		}
		if err := known[i].set(&l, text); err != nil {
			return l, err
		}
	}
	return l, nil
}

// limitsTable renders the settings as a Markdown table.
func limitsTable() string {
	var b strings.Builder
	b.WriteString("| name | default | bounds |\n|---|---|---|\n")
	defaults := broker.Limits{}.WithDefaults()
	for _, x := range limits() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", x.name, x.value(&defaults), x.doc)
	}
	return b.String()
}
