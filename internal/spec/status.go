package spec

import "time"

// DefaultAgent is the name of the instance's own mapper.
const DefaultAgent = "protocol-mapper"

// ConnectionState is where a connection stands (data-plane.md, "Connection states").
type ConnectionState string

// The states of a connection.
const (
	StateDisconnected  ConnectionState = "disconnected"
	StateConnecting    ConnectionState = "connecting"
	StateConnected     ConnectionState = "connected"
	StateConnectFailed ConnectionState = "connectFailed"
	StateConnectLost   ConnectionState = "connectLost"
	StateReconnecting  ConnectionState = "reconnecting"
	StateDisconnecting ConnectionState = "disconnecting"
)

// The states of an endpoint or mapping. Failed means that it cannot do its work; the
// status's Error says why, naming the connection where that is the cause.
const (
	StateEnabled  = "enabled"
	StateDisabled = "disabled"
	StateFailed   = "failed"
	StatePending  = "pending"     // taken over, not yet delivering (its connection is being opened)
	StateUnknown  = "unsupported" // this build cannot run it
)

// ResourceStatus is what a mapper reports about one of its resources. Counters count from
// the resource's start in this process.
type ResourceStatus struct {
	Service   string    `json:"service"`
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	State     string    `json:"state"`           // a ConnectionState for a connection, else one of State*
	OnTarget  bool      `json:"on_target"`       // false makes the service deviated
	Error     string    `json:"error,omitempty"` // the last one, kept after recovery only in LastError
	LastError string    `json:"last_error,omitempty"`
	Since     time.Time `json:"since"` // of the state
	Topic     string    `json:"topic,omitempty"`

	LastValueAt time.Time `json:"last_value_at,omitzero"` // zero: none yet
	Messages    uint64    `json:"messages"`
	Errors      uint64    `json:"errors"`
	Dropped     uint64    `json:"dropped"` // by a rule's failure, an unset topic variable, a refused publish
	Skipped     uint64    `json:"skipped"` // polls that came due while the one before was still running
	Connects    uint64    `json:"connects,omitempty"`
	Starts      uint64    `json:"starts"` // how often the supervisor (re)started this resource
}

// Key names the resource within the instance.
func (s ResourceStatus) Key() string { return ResourceKey(s.Service, s.ID) }

// AgentStatus is one report of a mapper: all of its resources when Full, else those that changed. A
// broker in a process of its own says by a full one which policy is in force, and its figures at any time.
type AgentStatus struct {
	Agent    string           `json:"agent"`
	Revision int64            `json:"revision"` // desired state that has been taken over
	Full     bool             `json:"full"`
	Put      []ResourceStatus `json:"put,omitempty"`
	Removed  []string         `json:"removed,omitempty"` // keys

	Abandoned int64       `json:"abandoned,omitempty"` // calls to drivers that were given up, since the mapper's start
	Bus       *BusFigures `json:"bus,omitempty"`       // nil: the mapper has its broker in its own process

	Broker  *BrokerFigures `json:"broker,omitempty"`  // of the broker alone
	Clients []ClientView   `json:"clients,omitempty"` // with Broker; see MaxReportedClients
}
