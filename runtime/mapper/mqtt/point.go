package mqtt

import (
	"encoding/json"
	"strings"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// point is a topic, or a filter to subscribe to.
type point struct {
	topic  string
	qos    byte
	retain bool
}

var (
	_ mapper.Point       = point{}
	_ mapper.Passthrough = point{}
)

// Schedule is zero: brokers push.
func (point) Schedule() mapper.Schedule { return mapper.Schedule{} }

// Passthrough is true: MQTT carries any bytes.
func (point) Passthrough() bool { return true }

// Point checks an endpoint's address.
func (x *connector) Point(op mapper.Operation, address json.RawMessage) (mapper.Point, error) {
	var a protocol.MqttAddress
	if err := json.Unmarshal(address, &a); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the address: %w", err)
	}
	if a.QoS < 0 || a.QoS > 2 {
		return nil, spec.Errorf(spec.Invalid, "cannot use qos %d: it is 0, 1 or 2", a.QoS)
	}
	var err error
	switch op {
	case mapper.OpSubscribe:
		err = spec.CheckFilter(plainFilter(a.Topic))
	case mapper.OpWrite:
		err = spec.CheckTopic(a.Topic)
	default:
		err = spec.Errorf(spec.Invalid, "cannot %s over MQTT: an endpoint subscribes or writes", op)
	}
	if err != nil {
		return nil, err
	}
	return point{topic: a.Topic, qos: byte(a.QoS), retain: a.Retain}, nil
}

// plainFilter returns what topics must match: a shared subscription's filter without "$share/group/".
func plainFilter(filter string) string {
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		if _, inner, ok := strings.Cut(rest, "/"); ok {
			return inner
		}
	}
	return filter
}
