package broker

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// benchTopics are as many as an instance with some machines has.
func benchTopics() []string {
	topics := make([]string, 1000)
	for i := range topics {
		topics[i] = fmt.Sprintf("services/press/line%d/value%d", i%10, i)
	}
	return topics
}

// BenchmarkInProcess is one publisher to one subscriber, both in process.
func BenchmarkInProcess(b *testing.B) {
	p := start(b, Limits{}, identityOf("service:press", "rw services/press/#"))
	var got atomic.Int64
	all := make(chan struct{})
	stop, err := p.Subscribe(b.Context(), "service:press", "services/press/#", 0, func(Message) {
		if got.Add(1) == int64(b.N) {
			close(all)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	topics, payload := benchTopics(), make([]byte, 64)
	b.ReportAllocs()
	for i := range b.N {
		if err := p.Publish(b.Context(), "service:press", Message{Topic: topics[i%len(topics)], Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkInProcessToNetwork is one publisher in process to one client over TCP, as fast as
// the client takes them: dropped ones are shown.
func BenchmarkInProcessToNetwork(b *testing.B) {
	p := start(b, Limits{}, identityOf("service:press", "rw services/press/#"))
	w := p.connect(b, "service:press", "c")
	w.subscribe(0, "services/press/#")
	received := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, w.nc) // until the broker closes
		received <- n
	}()
	topics, payload := benchTopics(), make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := p.Publish(b.Context(), "service:press", Message{Topic: topics[i%len(topics)], Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "the client", func() bool { s := p.Stats(); return s.MessagesSent+s.MessagesDropped >= int64(b.N) })
	s := p.Stats()
	b.ReportMetric(float64(s.MessagesSent)/b.Elapsed().Seconds(), "sent/s")
	b.ReportMetric(float64(s.MessagesDropped)/float64(b.N), "dropped/op")
	p.stop()
	<-received
}

// BenchmarkNetwork is one client to one client, QoS 0, over TCP.
func BenchmarkNetwork(b *testing.B) {
	p := start(b, Limits{}, identityOf("line1", "rw #"))
	sub, pub := p.connect(b, "line1", "sub"), p.connect(b, "line1", "pub")
	sub.subscribe(0, "a")
	go func() { _, _ = io.Copy(io.Discard, sub.nc) }()
	packet := append([]byte{0x30, 68, 0, 1, 'a', 0}, make([]byte, 64)...)
	var batch net.Buffers
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		batch = batch[:0]
		for range min(64, b.N-sent) {
			batch = append(batch, packet)
			sent++
		}
		buffers := batch
		if _, err := buffers.WriteTo(pub.nc); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "the subscriber", func() bool { s := p.Stats(); return s.MessagesSent+s.MessagesDropped >= int64(b.N) })
	s := p.Stats()
	b.ReportMetric(float64(s.MessagesSent)/b.Elapsed().Seconds(), "sent/s")
	b.ReportMetric(float64(s.MessagesDropped)/float64(b.N), "dropped/op")
}

// BenchmarkMay is what authorisation adds to a message.
func BenchmarkMay(b *testing.B) {
	id := compile(identityOf("a", "r x/#", "r y/+/z", "r services/press/#"))
	topics := benchTopics()
	for i := range b.N {
		if !id.may("read", topics[i%len(topics)]) {
			b.Fatal("refused")
		}
	}
}
