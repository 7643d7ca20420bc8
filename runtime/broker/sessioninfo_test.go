package broker

import (
	"testing"
	"time"
)

// A user finds which client lost how much, in the listing and in the log.
func TestSessionsListed(t *testing.T) {
	said := &diary{}
	p := startOptions(t, Options{Dir: t.TempDir(), Limits: Limits{QueueMessages: 3}, Log: said.log()}, newControl(identityOf("b", "rw #"), identityOf("a", "rw #")))
	before := time.Now()
	for _, name := range []string{"b", "a"} {
		w, _ := p.connectSession(t, name, "sleeper", 5)
		w.subscribe(1, name)
		w.nc.Close()
	}
	p.awaitClients(t, 0)
	p.connect(t, "b", "awake")
	for range 5 {
		p.publish(t, "a", Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	}
	got := p.Sessions()
	if len(got) != 3 || got[0].Identity != "a" || got[1].Client != "awake" || !got[1].Connected || got[2].Client != "sleeper" {
		t.Fatalf("listed: %+v", got)
	}
	if s := got[0]; s.Connected || s.Messages != 3 || s.Bytes == 0 || s.Dropped != 2 || s.Subscriptions != 1 || s.Oldest.Before(before) {
		t.Errorf("the one whose queue is full: %+v", s)
	}
	if s := got[2]; s.Messages != 0 || s.Dropped != 0 || !s.Oldest.IsZero() {
		t.Errorf("the one without messages: %+v", s)
	}
	if len(said.lines("message dropped", "identity=a", "client=sleeper", "dropped=1", "queue-messages")) != 1 {
		t.Errorf("the log: %s", said.text.String())
	}
}
