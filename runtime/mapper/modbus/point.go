package modbus

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	tableLength    = math.MaxUint16 + 1
	mostWritten    = 123  // registers in one write
	mostBitsOut    = 1968 // coils in one write
	mostBits       = 2000 // bits in one read
	mostRegisters  = 125  // registers in one read
	longestSeconds = 10 * 365 * 24 * 3600
)

// point is a checked address.
type point struct {
	span
	dataType
	schedule mapper.Schedule
}

// Schedule says how the point is polled.
func (p *point) Schedule() mapper.Schedule { return p.schedule }

var _ mapper.Point = (*point)(nil)

// parsePoint checks an address for its operation.
func parsePoint(op mapper.Operation, raw json.RawMessage, conn protocol.ModbusConnection) (*point, error) {
	a := protocol.ModbusAddress{Fc: -1, Address: -1}
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the Modbus address: %w", err)
	}
	d, ok := parseDataType(a.DataType)
	if !ok {
		return nil, spec.Errorf(spec.Invalid, "cannot use dataType %q", a.DataType).
			WithHint("raw, base64, boolean, or a number with its byte order, such as int32BE or floatBEWS")
	}
	unit := conn.UnitID
	if a.UnitID != nil {
		unit = *a.UnitID
	}
	if unit < 0 || unit > math.MaxUint8 {
		return nil, spec.Errorf(spec.Invalid, "cannot use unitId %d: 0 to 255 exist", unit)
	}
	if err := checkFunction(op, a.Fc); err != nil {
		return nil, err
	}
	p := &point{span: span{table{byte(unit), byte(a.Fc)}, a.Address, max(a.Length, d.size())}, dataType: d}
	if a.Length < 0 {
		return nil, spec.Errorf(spec.Invalid, "cannot use length %d: 1 is the least", a.Length)
	}
	if err := p.check(op, conn.MaxBatchSize); err != nil {
		return nil, err
	}
	return p, p.plan(op, a)
}

func checkFunction(op mapper.Operation, fc int) error {
	reads, writes := []int{1, 2, 3, 4}, []int{5, 6, 15, 16}
	switch {
	case op == mapper.OpWrite && slices.Contains(writes, fc):
		return nil
	case op != mapper.OpWrite && slices.Contains(reads, fc):
		return nil
	case op == mapper.OpWrite:
		return spec.Errorf(spec.Invalid, "cannot write with fc %d", fc).WithHint("write coils with 5 or 15, registers with 6 or 16")
	}
	return spec.Errorf(spec.Invalid, "cannot %s with fc %d", op, fc).
		WithHint("1 reads coils, 2 discrete inputs, 3 holding registers, 4 input registers")
}

// check looks at the span and the data type together.
func (p *point) check(op mapper.Operation, maxBatch int) error {
	switch {
	case p.first < 0 || p.end() > tableLength:
		return spec.Errorf(spec.Invalid, "cannot use address %d with length %d: a table has the addresses 0 to %d", p.first, p.count, tableLength-1)
	case p.bits() && p.number():
		return spec.Errorf(spec.Invalid, "cannot use dataType %q with fc %d, which is about bits", p.dataType, p.fc).WithHint("use boolean")
	case p.count%p.size() != 0:
		return spec.Errorf(spec.Invalid, "cannot use length %d with dataType %q, which takes %d registers a value", p.count, p.dataType, p.size())
	case (p.fc == 5 || p.fc == 6) && p.count != 1:
		return spec.Errorf(spec.Invalid, "cannot write %d registers or coils with fc %d, which writes one", p.count, p.fc).
			WithHint("use fc %d", p.fc+10)
	case p.fc == 15 && p.count > mostBitsOut, p.fc == 16 && p.count > mostWritten:
		return spec.Errorf(spec.Invalid, "cannot write %d at once with fc %d: %d registers or %d coils are the most", p.count, p.fc, mostWritten, mostBitsOut)
	case op != mapper.OpWrite && p.size() > maxBatch:
		return spec.Errorf(spec.Invalid, "cannot read dataType %q, which takes %d registers, with maxBatchSize %d", p.dataType, p.size(), maxBatch)
	}
	return nil
}

// plan sets the schedule of a subscribe address.
func (p *point) plan(op mapper.Operation, a protocol.ModbusAddress) error {
	switch {
	case op != mapper.OpSubscribe:
	case a.CronExpression != "":
		p.schedule.Cron = a.CronExpression
	case a.Interval < 0 || a.Interval > longestSeconds*1000:
		return spec.Errorf(spec.Invalid, "cannot poll every %d ms: 1 ms to ten years do", a.Interval)
	case a.Interval == 0:
		p.schedule.Interval = defaultInterval
	default:
		p.schedule.Interval = time.Duration(a.Interval) * time.Millisecond
	}
	return nil
}
