package opcua

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
	"github.com/millwright/millwright/runtime/simulator"
)

// BenchmarkDecode is the work for one message of 1,000 published values, without network.
func BenchmarkDecode(b *testing.B) {
	notification := &ua.DataChangeNotification{}
	for i := range 1000 {
		notification.MonitoredItems = append(notification.MonitoredItems, &ua.MonitoredItemNotification{
			ClientHandle: uint32(i), Value: &ua.DataValue{
				EncodingMask: ua.DataValueValue | ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp,
				Value:        ua.MustVariant(float64(i)), SourceTimestamp: time.Now(), ServerTimestamp: time.Now(),
			},
		})
	}
	message, err := ua.Encode(&ua.PublishResponse{
		ResponseHeader: &ua.ResponseHeader{ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)},
		NotificationMessage: &ua.NotificationMessage{NotificationData: []*ua.ExtensionObject{{
			EncodingMask: ua.ExtensionObjectBinary, Value: notification,
			TypeID: ua.NewFourByteExpandedNodeID(0, id.DataChangeNotification_Encoding_DefaultBinary),
		}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	prefix, err := ua.Encode(ua.NewFourByteExpandedNodeID(0, id.PublishResponse_Encoding_DefaultBinary))
	if err != nil {
		b.Fatal(err)
	}
	message = append(prefix, message...)
	b.ReportAllocs()
	for b.Loop() {
		response, err := decodeService(message)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range response.(*publishResponse).values {
			if r := toResult(n.value); r.Err != nil {
				b.Fatal(r.Err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "values/s")
}

// BenchmarkSubscribe takes all changes of 5,000 variables that change ten times a second, the
// simulator in the same process included; an operation is one value.
func BenchmarkSubscribe(b *testing.B) {
	const variables = 5000
	p, err := simulator.Start(b.Context(), simulator.Options{OPCUA: "127.0.0.1:0", OPCUAVariables: variables})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	c := connect(b, p.OPCUA(), nil)
	s := dial(b, c)
	defer s.Close()
	var count atomic.Int64
	var limit atomic.Int64
	limit.Store(1 << 62)
	reached := make(chan struct{}, 1)
	subs := make([]mapper.Subscription, variables)
	for i := range subs {
		address := fmt.Sprintf(`{"nodeId":"ns=2;s=Bench.%d","publishInterval":100,"samplingInterval":100}`, i)
		subs[i] = mapper.Subscription{ID: address, Point: pointOf(b, c, mapper.OpSubscribe, address), Deliver: func(mapper.Result) {
			if count.Add(1) == limit.Load() {
				reached <- struct{}{}
			}
		}}
	}
	for _, err := range s.Subscribe(b.Context(), subs) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	limit.Store(count.Load() + int64(b.N))
	if count.Load() < limit.Load() {
		<-reached
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "values/s")
}

// BenchmarkRead reads 1,000 variables in one request.
func BenchmarkRead(b *testing.B) {
	p, err := simulator.Start(b.Context(), simulator.Options{OPCUA: "127.0.0.1:0", OPCUAVariables: 1000})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	c := connect(b, p.OPCUA(), nil)
	s := dial(b, c)
	defer s.Close()
	points := make([]mapper.Point, 1000)
	for i := range points {
		points[i] = pointOf(b, c, mapper.OpRead, fmt.Sprintf(`{"nodeId":"ns=2;s=Bench.%d"}`, i))
	}
	for b.Loop() {
		for _, r := range s.Read(b.Context(), points) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "values/s")
}
