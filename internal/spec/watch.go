package spec

import "context"

// Watch is the one stream by which a part of the runtime learns its desired state. T is
// Resource for a mapper and Identity for the broker. In one process the control part is
// called directly; between containers a client of the HTTP stream has the same method.
type Watch[T any] interface {
	// Watch calls handle for each event, one after the other, until ctx ends or handle
	// fails, and returns why. After is the cursor of the last event that the caller has
	// kept ("" for none): the stream resumes behind it, or begins with EventSnapshot.
	Watch(ctx context.Context, after string, handle func(Event[T]) error) error
}

// EventType is what an event does to the receiver's copy.
type EventType string

// A stream is a sequence of groups; each group ends in EventSynced, and only then is the
// copy consistent and to be acted on. EventSnapshot empties the copy under construction:
// the puts that follow, up to EventSynced, are all there is.
const (
	EventSnapshot EventType = "snapshot"
	EventPut      EventType = "put"
	EventDelete   EventType = "delete"
	EventSynced   EventType = "synced"
)

// Event is one element of a watch stream.
type Event[T any] struct {
	Type   EventType `json:"type"`
	Key    string    `json:"key,omitempty"`    // of put and delete: Resource.Key or Identity.Name
	Value  T         `json:"value,omitzero"`   // of put
	Cursor string    `json:"cursor,omitempty"` // of synced: "<store>-<revision>"
	// Revision, of synced, is what a status report names as taken over.
	Revision int64 `json:"revision,omitempty"`
}
