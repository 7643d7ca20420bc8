package broker

import (
	"cmp"
	"math"
	"time"
)

// Limits bound what clients can make the broker hold. The defaults hold on 1 GB of memory.
type Limits struct {
	Connections            int           // open network connections; default 5,000
	ConnectTimeout         time.Duration // from accept to CONNECT and its answer; default 10 s
	PacketBytes            int           // largest packet taken in; default 4 MiB
	TotalPacketBytes       int           // large packets being read, of all clients; messages that wait while the disk takes none; default 64 MiB each
	BufferMessages         int           // of QoS 0, waiting in memory for one network client; default 10,000
	BufferBytes            int           // waiting in memory for one network client; default 16 MiB
	TotalBufferBytes       int           // waiting in memory for all network clients; default 256 MiB
	QueueMessages          int           // of QoS 1 and 2, waiting on disk for one network client; default 1,000,000
	QueueBytes             int           // waiting on disk for one network client; default 1 GiB
	QueueAge               time.Duration // how long a message waits on disk; default 30 days
	TotalQueueBytes        int           // waiting on disk for all network clients; default 4 GiB
	LocalMessages          int           // waiting for one in-process subscriber; default 1,024
	LocalBytes             int           // waiting for one in-process subscriber; default 8 MiB
	Inflight               int           // unacknowledged QoS 1 and 2 messages to or from one client; default 256
	KeepAlive              time.Duration // longest that a client of MQTT 5 may be silent; default 1 h, at most 65,535 s
	Sessions               int           // network sessions, connected or not; default 10,000
	Subscriptions          int           // of one network client; default 20,000
	SubscriptionBytes      int           // of one network client, with 400 for each; default 8 MiB
	TotalSubscriptionBytes int           // of all network clients; default 128 MiB
	RetainedMessages       int           // default 200,000
	RetainedBytes          int           // default 256 MiB
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Connections:            cmp.Or(l.Connections, 5000),
		ConnectTimeout:         cmp.Or(l.ConnectTimeout, 10*time.Second),
		PacketBytes:            cmp.Or(l.PacketBytes, 4<<20),
		TotalPacketBytes:       cmp.Or(l.TotalPacketBytes, 64<<20),
		BufferMessages:         cmp.Or(l.BufferMessages, 10_000),
		BufferBytes:            cmp.Or(l.BufferBytes, 16<<20),
		TotalBufferBytes:       cmp.Or(l.TotalBufferBytes, 256<<20),
		QueueMessages:          cmp.Or(l.QueueMessages, 1_000_000),
		QueueBytes:             cmp.Or(l.QueueBytes, 1<<30),
		QueueAge:               cmp.Or(l.QueueAge, 30*24*time.Hour),
		TotalQueueBytes:        cmp.Or(l.TotalQueueBytes, 4<<30),
		LocalMessages:          cmp.Or(l.LocalMessages, 1024),
		LocalBytes:             cmp.Or(l.LocalBytes, 8<<20),
		Inflight:               cmp.Or(l.Inflight, 256),
		KeepAlive:              min(cmp.Or(l.KeepAlive, time.Hour), math.MaxUint16*time.Second),
		Sessions:               cmp.Or(l.Sessions, 10_000),
		Subscriptions:          cmp.Or(l.Subscriptions, 20_000),
		SubscriptionBytes:      cmp.Or(l.SubscriptionBytes, 8<<20),
		TotalSubscriptionBytes: cmp.Or(l.TotalSubscriptionBytes, 128<<20),
		RetainedMessages:       cmp.Or(l.RetainedMessages, 200_000),
		RetainedBytes:          cmp.Or(l.RetainedBytes, 256<<20),
	}
}
