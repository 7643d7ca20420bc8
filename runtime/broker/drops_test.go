package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Who subscribes gets all that is retained, however much it is, in a session of either kind.
func TestRetainedManyForNetworkClient(t *testing.T) {
	const n = 20_000
	p := start(t, Limits{}, identityOf("a", "rw #"))
	for i := range n {
		p.publish(t, "a", Message{Topic: fmt.Sprint("r/", i), Payload: []byte("v"), Retain: true})
	}
	for _, version := range []byte{4, 5} {
		w := p.connect(t, "a", fmt.Sprint("c", version))
		w.subscribe(1, "r/#")
		for range n {
			w.expect(packets.Publish)
		}
		w.nc.Close()
	}
	if d := p.Stats().MessagesDropped; d != 0 {
		t.Errorf("%d dropped", d)
	}
}
