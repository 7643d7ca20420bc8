package broker

import (
	"cmp"
	"time"
)

// Limits bound what clients can make the broker hold. The defaults hold on 1 GB of memory.
type Limits struct {
	Connections      int           // open network connections; default 5,000
	ConnectTimeout   time.Duration // from accept to CONNECT and its answer; default 10 s
	PacketBytes      int           // largest packet taken in; default 4 MiB
	QueueMessages    int           // waiting for one network client; default 10,000
	QueueBytes       int           // waiting for one network client; default 16 MiB
	TotalQueueBytes  int           // waiting for all network clients; default 256 MiB
	LocalMessages    int           // waiting for one in-process subscriber; default 1,024
	LocalBytes       int           // waiting for one in-process subscriber; default 8 MiB
	Inflight         int           // unacknowledged QoS 1 and 2 messages to or from one client; default 256
	Sessions         int           // network sessions, connected or not; default 10,000
	Subscriptions    int           // of one network client; default 20,000
	RetainedMessages int           // default 200,000
	RetainedBytes    int           // default 256 MiB
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Connections:      cmp.Or(l.Connections, 5000),
		ConnectTimeout:   cmp.Or(l.ConnectTimeout, 10*time.Second),
		PacketBytes:      cmp.Or(l.PacketBytes, 4<<20),
		QueueMessages:    cmp.Or(l.QueueMessages, 10_000),
		QueueBytes:       cmp.Or(l.QueueBytes, 16<<20),
		TotalQueueBytes:  cmp.Or(l.TotalQueueBytes, 256<<20),
		LocalMessages:    cmp.Or(l.LocalMessages, 1024),
		LocalBytes:       cmp.Or(l.LocalBytes, 8<<20),
		Inflight:         cmp.Or(l.Inflight, 256),
		Sessions:         cmp.Or(l.Sessions, 10_000),
		Subscriptions:    cmp.Or(l.Subscriptions, 20_000),
		RetainedMessages: cmp.Or(l.RetainedMessages, 200_000),
		RetainedBytes:    cmp.Or(l.RetainedBytes, 256<<20),
	}
}
