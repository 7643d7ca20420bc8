package broker

import "sync/atomic"

// Stats are counters since the start, and gauges. Messages are counted in process and on
// the network, bytes on the network only.
type Stats struct {
	Clients          int64
	Connections      int64 // open on the network, with or without a client that is logged in
	ClientsTotal     int64 // sessions that were accepted
	Subscriptions    int64
	Retained         int64
	MessagesReceived int64
	MessagesSent     int64
	MessagesDropped  int64 // a subscriber's copy that was not delivered, or a retained one not kept
	BytesReceived    int64
	BytesSent        int64
	Refused          int64 // connects, publishes and subscriptions that the policy or a limit refused
	MessagesQueued   int64 // wait on disk for clients
	BytesQueued      int64
	JournalBytes     int64  // the journal's size on disk
	StorageError     string // why nothing is acknowledged now; empty when all is well
	Panics           int64  // connections ended by a panic or a malformed packet
}

type counters struct {
	clients, clientsTotal, subscriptions atomic.Int64
	received, sent, dropped              atomic.Int64
	bytesReceived, bytesSent             atomic.Int64
	refused, panics                      atomic.Int64
}

// Stats returns a snapshot.
func (b *Broker) Stats() Stats {
	c := &b.stats
	failure := ""
	if err := b.journal.Err(); err != nil {
		failure = err.Error()
	}
	return Stats{
		Connections:    int64(b.openConnections()),
		MessagesQueued: b.queuedMessages.Load(), BytesQueued: b.queuedBytes.Load(),
		JournalBytes: b.journal.Stats().Bytes, StorageError: failure,
		Clients: c.clients.Load(), ClientsTotal: c.clientsTotal.Load(),
		Subscriptions: c.subscriptions.Load(), Retained: b.retained.count(),
		MessagesReceived: c.received.Load(), MessagesSent: c.sent.Load(), MessagesDropped: c.dropped.Load(),
		BytesReceived: c.bytesReceived.Load(), BytesSent: c.bytesSent.Load(),
		Refused: c.refused.Load(), Panics: c.panics.Load(),
	}
}
