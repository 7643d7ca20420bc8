package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Filters whose wildcards are in the wrong place are refused each, not with the connection.
func badFilters(t *testing.T, filters ...string) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	for _, filter := range filters {
		w.raw(rawSubscribe(1, properties(), filter, 0))
		pk, err := w.receive()
		if err != nil || pk.FixedHeader.Type != packets.Suback || pk.ReasonCodes[0] != 0x8F {
			t.Fatalf("%q: %s % x, %v", filter, packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCodes, err)
		}
	}
	if n := p.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

func (mqtt5) MultiLevelWildcard(t *testing.T) {
	badFilters(t, "sport/tennis#", "sport/tennis/#/ranking", "#/a", "##", "a/##", "/#/", "$share/g/#/a", "$share/g/a#")
	wantMatches(t, map[string]string{
		"sport/tennis/player1/#": "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon",
		"sport/#":                "sport sport/a sport/", "#": "a /a a/ / a/b/c", "/#": "/ /a",
	})
}

func (mqtt5) SingleLevelWildcard(t *testing.T) {
	badFilters(t, "sport+", "a/+b", "+a", "++", "a/b+/c", "+#", "#+", "$share/g/a+")
	wantMatches(t, map[string]string{
		"sport/tennis/+": "sport/tennis/player1 sport/tennis/player2 sport/tennis/", "sport/+": "sport/", "+/+": "/finance a/b", "/+": "/finance /",
		"+": "finance", "+/tennis/#": "sport/tennis sport/tennis/a /tennis",
	})
}

// wantMatches wants each filter to get these topics, of all that the table names.
func wantMatches(t *testing.T, table map[string]string) {
	t.Helper()
	p := conforming(t)
	var all []string
	for _, topics := range table {
		all = append(all, strings.Fields(topics)...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	pub := p.connect(t, "line2", "pub")
	for filter, topics := range table {
		w := p.connect(t, "line1", "c")
		w.subscribe(0, filter, "the-end/")
		for _, topic := range all {
			pub.publish(topic, "x", 0, 0)
		}
		pub.publish("the-end/", "", 0, 0)
		var got []string
		for {
			pk := w.expect(packets.Publish)
			if pk.TopicName == "the-end/" {
				break
			}
			got = append(got, pk.TopicName)
		}
		for _, topic := range strings.Fields(topics) {
			if !slices.Contains(got, topic) {
				t.Errorf("%s does not match %s", filter, topic)
			}
		}
		for _, topic := range got {
			if !matchesByHand(strings.Split(filter, "/"), strings.Split(topic, "/")) {
				t.Errorf("%s matches %s", filter, topic)
			}
		}
	}
}

// matchesByHand is 4.7.1 once more, as simply as can be.
func matchesByHand(filter, topic []string) bool {
	switch {
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic) || len(filter) == 1 && filter[0] == "#"
	case filter[0] == "#":
		return true
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matchesByHand(filter[1:], topic[1:])
}

func (mqtt5) DollarTopics(t *testing.T) {
	p := start(t, Limits{}, identityOf("line1", "rw #", "rw $own/#", "r $SYS/#"))
	w := p.connect(t, "line1", "c")
	if got := w.subscribe(0, "#", "+/x", "+/monitor/Clients"); !slices.Equal(got, []byte{0, 0, 0}) {
		t.Fatalf("SUBACK % x", got)
	}
	p.publish(t, "line1", Message{Topic: "$own/x", Payload: []byte("1")})
	p.publish(t, "line1", Message{Topic: "$own/x", Payload: []byte("kept"), Retain: true})
	w.ping()
	if got := w.subscribe(0, "$own/#"); got[0] != 0 {
		t.Fatalf("SUBACK % x", got)
	}
	w.expectMessage("$own/x", "kept")
	p.publish(t, "line1", Message{Topic: "$own/x", Payload: []byte("2")})
	w.expectMessage("$own/x", "2")
	if got := w.subscribe(0, "$SYS/broker/uptime"); got[0] != 0 {
		t.Fatalf("SUBACK % x", got)
	}
	w.expect(packets.Publish)
}

func (mqtt5) EmptyTopic(t *testing.T) {
	badFilters(t, "")
	p := conforming(t)
	p.wantDisconnect(t, rawPublish(0, "", 0, properties(), "x"), 0x82, 0x90, 0x81)
	p.wantDisconnect(t, rawPublish(qos1Bits, "", 1, properties(), "x"), 0x82, 0x90, 0x81)
	wantMatches(t, map[string]string{"/": "/", "a": "a", "a/": "a/", "//": "//"})
}

func (mqtt5) TopicWithNull(t *testing.T) {
	p := conforming(t)
	for _, f := range textFields() {
		if f.name == "topic" || f.name == "filter" || f.name == "filter to leave" {
			p.wantDisconnect(t, f.packet("a\x00"), 0x81, 0x82, 0x90, 0x8F)
			p.wantDisconnect(t, f.packet("\x00"), 0x81, 0x82, 0x90, 0x8F)
		}
	}
}

// The longest topic that fits its length goes through whole.
func (mqtt5) LongestTopic(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	topic := strings.Repeat("x", 65_535)
	if got := w.subscribe(0, topic); got[0] != 0 {
		t.Fatalf("SUBACK % x", got)
	}
	w.publish(topic, "whole", 0, 0)
	w.expectMessage(topic, "whole")
}

// Nothing is normalised: case, space, empty levels, forms of Unicode.
func (mqtt5) NotNormalised(t *testing.T) {
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	topics := []string{"ACCOUNTS", "Accounts", "a b", "a  b", "a/", "/a", "a//b", "a/b", "\u00e9", "e\u0301", "\u212b", "\u00c5", "a.b", "a/./b", "\U0001F3ED", "\x7f", " "}
	for i, topic := range topics {
		w.subscribeWith(i+1, packets.Subscription{Filter: topic})
	}
	for i, topic := range topics {
		w.publish(topic, "x", 0, 0)
		pk := w.expectMessage(topic, "x")
		if ids := pk.Properties.SubscriptionIdentifier; !slices.Equal(ids, []int{i + 1}) {
			t.Errorf("%q is for %v, want %d", topic, ids, i+1)
		}
	}
	w.ping()
}

func (mqtt5) ShareName(t *testing.T) {
	badFilters(t, "$share", "$share/", "$share//a", "$share/g", "$share/g/", "$share//")
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	if got := w.subscribe(1, "$share/g/a", "$share/G/b"); !slices.Equal(got, []byte{1, 1}) {
		t.Errorf("SUBACK % x", got)
	}
	w.publish("a", "x", 0, 0)
	w.expectMessage("a", "x")
	w.ping()
}

func (mqtt5) ShareNameWildcard(t *testing.T) {
	badFilters(t, "$share/+/a", "$share/#/a", "$share/g+/a", "$share/g#/a", "$share/#", "$share/+")
	p := conforming(t)
	w := p.connect(t, "line1", "c")
	w.subscribe(0, "$share/a name/+/#", "$share/g//x")
	w.publish("y/z", "1", 0, 0)
	w.expectMessage("y/z", "1")
	w.publish("/x", "2", 0, 0)
	w.expectMessage("/x", "2") // for the one
	w.expectMessage("/x", "2") // and for the other
	w.ping()
}
