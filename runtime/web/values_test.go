package web

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

var discard = slog.New(slog.DiscardHandler)

func TestValuesKeepTheLastOne(t *testing.T) {
	s := newValues()
	for i, payload := range []string{"a long first value", "2", ""} {
		s.put(Message{Topic: "services/press/x", Payload: []byte(payload)}, noon.Add(time.Duration(i)*time.Second))
	}
	v, ok := s.get("services/press/x")
	if !ok || string(v.payload) != "2" || v.size != 1 || !v.at.Equal(noon.Add(time.Second)) || !v.since.Equal(noon) {
		t.Errorf("%+v, %v", v, ok)
	}
	if _, ok := s.get("services/press/y"); ok {
		t.Error("a value came from nowhere")
	}
	big := Message{Topic: "services/press/big", Payload: bytes.Repeat([]byte("x"), 1<<20)}
	s.put(big, noon)
	if v, _ := s.get(big.Topic); len(v.payload) != keptPayload || v.size != 1<<20 {
		t.Errorf("kept %d of %d", len(v.payload), v.size)
	}
}

func TestValuesForgetWhatIsNoEndpoint(t *testing.T) {
	s := newValues()
	for _, topic := range []string{"services/press/x", "services/press/x/res", "services/gone/x"} {
		s.put(Message{Topic: topic, Payload: []byte("1")}, noon)
	}
	endpoints := map[string]bool{"services/press/x": true, "services/gone/x": true}
	s.prune(endpoints, noon.Add(strangerLife-1))
	if len(s.byTopic) != 3 {
		t.Errorf("%d topics while mappers may still report", len(s.byTopic))
	}
	delete(endpoints, "services/gone/x")
	s.prune(endpoints, noon.Add(strangerLife))
	if _, ok := s.get("services/press/x"); !ok || len(s.byTopic) != 1 {
		t.Errorf("%d topics", len(s.byTopic))
	}
}

// TestValuesAreBounded: strangers' topics fill their quarter and take nothing of the endpoints' part.
func TestValuesAreBounded(t *testing.T) {
	s := newValues()
	endpoint := Message{Topic: "services/press/x", Payload: []byte("1")}
	s.put(endpoint, noon)
	s.prune(map[string]bool{endpoint.Topic: true}, noon)
	long := strings.Repeat("t", 60_000)
	for i := range 1000 {
		s.put(Message{Topic: fmt.Sprintf("services/%d/%s", i, long), Payload: bytes.Repeat([]byte("x"), 2*keptPayload)}, noon)
	}
	used := 0
	for topic, v := range s.byTopic {
		used += v.cost(topic)
	}
	if used > valuesBytes/4+1000 || used < valuesBytes/8 || s.bytes[false]+s.bytes[true] != used {
		t.Errorf("%d bytes used, %v counted", used, s.bytes)
	}
	s.put(Message{Topic: endpoint.Topic, Payload: bytes.Repeat([]byte("y"), keptPayload)}, noon)
	if v, ok := s.get(endpoint.Topic); !ok || v.payload[0] != 'y' {
		t.Errorf("the endpoint's value found no place: %+v", v)
	}
	s.prune(nil, noon.Add(strangerLife))
	if len(s.byTopic) != 0 || s.bytes[false] != 0 || s.bytes[true] != 0 {
		t.Errorf("%d topics and %v bytes are left", len(s.byTopic), s.bytes)
	}
}

func TestShow(t *testing.T) {
	at := noon.UnixMilli()
	for _, c := range []struct {
		payload    string
		text, fail string
		timed      bool
	}{
		{fmt.Sprintf(`{"timestamp": %d, "value": 21.5}`, at), "21.5", "", true},
		{fmt.Sprintf(`{"timestamp": %d, "value": 9007199254740993}`, at), "9007199254740993", "", true},
		{fmt.Sprintf(`{"timestamp": %d, "value": "running"}`, at), "running", "", true},
		{fmt.Sprintf(`{"timestamp": %d, "value": {"a": [1, 2]}}`, at), `{"a":[1,2]}`, "", true},
		{fmt.Sprintf(`{"timestamp": %d, "value": false}`, at), "false", "", true},
		{fmt.Sprintf(`{"timestamp": %d, "value": null, "error": "BadNotConnected"}`, at), "", "BadNotConnected", true},
		{fmt.Sprintf(`{"timestamp": %d}`, at), fmt.Sprintf(`{"timestamp": %d}`, at), "", false},
		{`{"value": 1}`, `{"value": 1}`, "", false},
		{`{"timestamp": "noon", "value": 1}`, `{"timestamp": "noon", "value": 1}`, "", false},
		{"on\x00\u202e\nline", "on   line", "", false},
		{"\xff\xfe", "2 bytes, not text", "", false},
		{strings.Repeat("ä", 300), strings.Repeat("ä", shownRunes) + "…", "", false},
	} {
		v := value{payload: []byte(c.payload), size: len(c.payload), at: noon.Add(time.Hour)}
		s := v.show()
		want := noon.Add(time.Hour)
		if c.timed {
			want = noon
		}
		if s.Text != c.text || s.Error != c.fail || !s.At.Equal(want) {
			t.Errorf("%s: %+v", c.payload, s)
		}
		v.retain = true
		if s := v.show(); c.timed != s.At.Equal(noon) || !c.timed && !s.At.IsZero() {
			t.Errorf("%s, retained: %+v", c.payload, s)
		}
	}
	cut := value{payload: []byte("xä")[:2], size: 3}
	if s := cut.show(); s.Text != "x…" {
		t.Errorf("cut: %+v", s)
	}
}

func FuzzShow(f *testing.F) {
	f.Add([]byte(`{"timestamp": 1, "value": "x"}`), 30)
	f.Add([]byte("\xc3"), 2)
	f.Fuzz(func(t *testing.T, payload []byte, size int) {
		s := value{payload: payload, size: max(size, len(payload)), at: noon}.show()
		for _, text := range []string{s.Text, s.Error} {
			if !utf8.ValidString(text) || utf8.RuneCountInString(text) > shownRunes+1 {
				t.Errorf("%q", text)
			}
		}
		_ = age(noon, s.At)
	})
}

func TestAge(t *testing.T) {
	for ago, want := range map[time.Duration]string{
		-time.Hour: "in the future", -time.Second: "now", 0: "now", 3 * time.Second: "3 s", 119 * time.Second: "119 s",
		2 * time.Minute: "2 min", 3 * time.Hour: "3 h", 72 * time.Hour: "3 days",
	} {
		if got := age(noon, noon.Add(-ago)); got != want {
			t.Errorf("%s: %q", ago, got)
		}
	}
	if got := age(noon, time.Time{}); got != "" {
		t.Errorf("never: %q", got)
	}
}

func BenchmarkPut(b *testing.B) {
	s := newValues()
	m := Message{Topic: "services/press/temperature", Payload: []byte(`{"timestamp":1777896000000,"value":21.5}`)}
	b.ReportAllocs()
	for b.Loop() {
		s.put(m, noon)
	}
}
