package modbus

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/millwright/millwright/runtime/mapper"
)

func TestConnectionsThatAreRefused(t *testing.T) {
	for _, properties := range []string{
		``, `[]`, `{}`, `{"host":"h","port":70000}`, `{"host":"h","scheme":"carrier pigeon"}`, `{"scheme":"rtu"}`,
		`{"host":"h","maxBatchSize":126}`, `{"host":"h","maxBatchSize":-1}`, `{"host":"h","unitId":256}`,
		`{"host":"h","socketTimeout":9223372036854775807}`, `{"host":"h","socketTimeout":-5}`, `{"host":"h","socketTimeout":0}`,
		`{"scheme":"rtu","serialPort":"/dev/null","parity":"mark"}`, `{"scheme":"rtu","serialPort":"/dev/null","dataBits":9}`,
		`{"host":"h","scheme":"tls","trustAllCertificates":true}`,
	} {
		if _, err := newConnector(mapper.Config{Properties: json.RawMessage(properties)}); err == nil {
			t.Errorf("%s is accepted", properties)
		}
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	c := connect(t, "127.0.0.1:502", map[string]any{"maxBatchSize": 2})
	tests := []struct {
		op      mapper.Operation
		address string
	}{
		{mapper.OpRead, `{"fc":5,"address":0}`},
		{mapper.OpWrite, `{"fc":3,"address":0}`},
		{mapper.OpRead, `{"fc":7,"address":0}`},
		{mapper.OpRead, `{"fc":3}`},
		{mapper.OpRead, `{"address":3}`},
		{mapper.OpRead, `{"fc":3,"address":65536}`},
		{mapper.OpRead, `{"fc":3,"address":-1}`},
		{mapper.OpRead, `{"fc":3,"address":0,"length":-1}`},
		{mapper.OpRead, `{"fc":3,"address":0,"length":65537}`},
		{mapper.OpRead, `{"fc":3,"address":0,"unitId":256}`},
		{mapper.OpRead, `{"fc":3,"address":0,"dataType":"int32"}`},
		{mapper.OpRead, `{"fc":3,"address":0,"length":3,"dataType":"int32BE"}`},
		{mapper.OpRead, `{"fc":3,"address":0,"dataType":"int64BE"}`},
		{mapper.OpRead, `{"fc":1,"address":0,"dataType":"int16BE"}`},
		{mapper.OpWrite, `{"fc":6,"address":0,"dataType":"int32BE"}`},
		{mapper.OpWrite, `{"fc":5,"address":0,"length":2,"dataType":"boolean"}`},
		{mapper.OpWrite, `{"fc":16,"address":0,"length":124}`},
		{mapper.OpWrite, `{"fc":15,"address":0,"length":1969}`},
		{mapper.OpSubscribe, `{"fc":3,"address":0,"interval":-1}`},
		{mapper.OpSubscribe, `{"fc":3,"address":0,"interval":9223372036854775807}`},
	}
	for _, test := range tests {
		if _, err := c.Point(test.op, json.RawMessage(test.address)); err == nil {
			t.Errorf("%s %s is accepted", test.op, test.address)
		}
	}
}

func TestSchedules(t *testing.T) {
	c := connect(t, "127.0.0.1:502", nil)
	tests := map[string]mapper.Schedule{
		`{"fc":3,"address":0}`:                                  {Interval: time.Second},
		`{"fc":3,"address":0,"interval":250}`:                   {Interval: 250 * time.Millisecond},
		`{"fc":3,"address":0,"cronExpression":"*/5 * * * * *"}`: {Cron: "*/5 * * * * *"},
	}
	for address, want := range tests {
		p, err := c.Point(mapper.OpSubscribe, json.RawMessage(address))
		if err != nil || p.Schedule() != want {
			t.Errorf("%s: %v, %v; want %v", address, p, err, want)
		}
	}
}
