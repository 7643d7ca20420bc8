package mqtt

import (
	"fmt"
	"testing"

	"github.com/millwright/millwright/runtime/mapper"
)

// TestUnclaimedIsBounded: the newest messages wait for their subscription, in number and in bytes, and only until
// all subscriptions are made.
func TestUnclaimedIsBounded(t *testing.T) {
	routes := newRoutes(true)
	var strays []string
	routes.stray = func(topic string) { strays = append(strays, topic) }
	for n := range 40 {
		routes.dispatch(mapper.Message{Topic: fmt.Sprint("t", n), Payload: make([]byte, 1<<20)}, nil)
	}
	if routes.bytes > unclaimedBytes || len(routes.unclaimed) != 15 {
		t.Errorf("%d messages wait, %d bytes", len(routes.unclaimed), routes.bytes)
	}
	var got []string
	routes.add(&route{id: "a", filter: "t39", deliver: func(m mapper.Message) { got = append(got, m.Topic) }})
	if topics, dropped := routes.settle(); len(topics) != 14 || dropped != 39 {
		t.Errorf("%d topics, %d dropped", len(topics), dropped)
	}
	for range unclaimedLimit + 1 {
		routes.dispatch(mapper.Message{Topic: "late"}, nil)
	}
	routes.add(&route{id: "b", filter: "late", deliver: func(m mapper.Message) { got = append(got, m.Topic) }})
	if fmt.Sprint(got, strays) != "[t39] [late]" {
		t.Errorf("got %v, strays %v", got, strays)
	}
}
