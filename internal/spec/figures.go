package spec

import "time"

// BrokerFigures are counters since the broker's start, and gauges. Messages are counted in
// process and on the network, bytes on the network only.
type BrokerFigures struct {
	Clients          int64  `json:"clients"`
	Connections      int64  `json:"connections"`
	ClientsTotal     int64  `json:"clients_total"`
	Subscriptions    int64  `json:"subscriptions"`
	Retained         int64  `json:"retained"`
	MessagesReceived int64  `json:"messages_received"`
	MessagesSent     int64  `json:"messages_sent"`
	MessagesDropped  int64  `json:"messages_dropped"`
	BytesReceived    int64  `json:"bytes_received"`
	BytesSent        int64  `json:"bytes_sent"`
	Refused          int64  `json:"refused"`
	MessagesQueued   int64  `json:"messages_queued"`
	BytesQueued      int64  `json:"bytes_queued"`
	JournalBytes     int64  `json:"journal_bytes"`
	StorageError     string `json:"storage_error,omitempty"`
	Panics           int64  `json:"panics"`
}

// BusFigures are those of a mapper's way to a broker in another process; the counters begin with
// the mapper's process.
type BusFigures struct {
	Queued      int64 `json:"queued"`       // messages that wait for the broker
	QueuedBytes int64 `json:"queued_bytes"` // of those, on disk
	Sent        int64 `json:"sent"`         // that the broker has taken
	Dropped     int64 `json:"dropped"`      // past the bounds of bytes and age, and that the disk did not take
	Refused     int64 `json:"refused"`      // by the broker, or too large for it
}

// ClientView is one session of a network client at the broker, and how it fares.
type ClientView struct {
	Identity      string    `json:"identity"` // that it logged in as
	Client        string    `json:"client"`   // its client id
	Connected     bool      `json:"connected"`
	Subscriptions int       `json:"subscriptions"`
	Messages      int       `json:"messages"`        // that wait for it, with those that it has not acknowledged
	Bytes         int64     `json:"bytes"`           // of those that it was not sent yet
	Dropped       int64     `json:"dropped"`         // that it did not get, since the broker's start
	Oldest        time.Time `json:"oldest,omitzero"` // when the first of those on disk came
}

// Key names the session within the instance.
func (v ClientView) Key() string { return v.Identity + "/" + v.Client }

// MaxReportedClients is how many sessions a broker in a process of its own reports: those that
// lost most, then those for which most waits.
const MaxReportedClients = 200
