package broker

import "testing"

// FuzzRecord holds that no record of the journal, whatever it holds, makes the broker panic.
func FuzzRecord(f *testing.F) {
	m := &message{Message: Message{Topic: "a/b", Payload: []byte("x"), QoS: 1}}
	f.Add(appendMessage(nil, &messageRecord{}, []recipient{{num: 1, seq: 2, qos: 1, ids: []int{3}}}, m))
	f.Add(appendSession(nil, &sessionRecord{num: 1, key: sessionKey{"u", "c"}, will: &will{as: "u", msg: m}}))
	f.Add(appendSubscription(nil, 1, &subscription{filter: "a/#", qos: 2}))
	f.Add(appendUnsubscription(nil, 1, "a/#"))
	f.Fuzz(func(t *testing.T, rec []byte) {
		if len(rec) == 0 {
			return
		}
		if _, read, err := readMessage(rec, func(*recipient) {}); err == nil && read == nil {
			t.Error("neither a message nor an error")
		}
		if _, sub, err := readSubscription(rec); err == nil && sub == nil {
			t.Error("neither a subscription nor an error")
		}
		_, _ = readSession(rec) // must not panic
	})
}
