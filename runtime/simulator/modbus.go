package simulator

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"sync"
	"time"
)

// Where the Modbus device's tables begin and end. Every unit has the same layout.
const (
	holdingLength   = 20   // holding registers 0..19
	writableFrom    = 10   // holding registers and coils from here to the table's end take writes
	extraFrom       = 1000 // Options.ModbusRegisters begin here
	inputLength     = 7    // input registers 0..6
	coilLength      = 20
	discreteLength  = 8
	silentUnit      = 3
	lastUnit        = 2
	modbusTick      = 100 * time.Millisecond
	beyondFloat64   = 1<<53 + 1 // the first integer that a float64 cannot hold
	ticksPerPeriod  = 200       // of temperature and pressure
	ticksPerRunFlip = 20
	ticksPerInput   = 10
)

// tables are the values of the simulated units as a function of seed and tick, and what was
// written to them. Unit 3 is silent and any other unit than 1 and 2 is not there.
type tables struct {
	seed  int64
	extra int
	tick  func() uint64

	mu      sync.Mutex
	holding [lastUnit + 1][holdingLength - writableFrom]uint16
	coils   [lastUnit + 1][coilLength - writableFrom]bool
}

func newTables(opts Options) (*tables, error) {
	if opts.ModbusRegisters < 0 || opts.ModbusRegisters > math.MaxUint16+1-extraFrom {
		return nil, fmt.Errorf("cannot add %d registers from %d: 0 to %d fit", opts.ModbusRegisters, extraFrom, math.MaxUint16+1-extraFrom)
	}
	start := time.Now()
	return &tables{
		seed: opts.Seed, extra: opts.ModbusRegisters,
		tick: func() uint64 { return uint64(time.Since(start) / modbusTick) },
	}, nil
}

// noise is a fixed number of a seed, a unit and an address.
func (t *tables) noise(unit byte, address int) uint32 {
	h := fnv.New32a()
	var key [17]byte
	binary.BigEndian.PutUint64(key[:], uint64(t.seed))
	key[8] = unit
	binary.BigEndian.PutUint64(key[9:], uint64(address))
	h.Write(key[:])
	return h.Sum32()
}

// readHolding returns holding registers, false if one does not exist.
func (t *tables) readHolding(unit byte, address, count int) ([]uint16, bool) {
	tick := t.tick()
	if address >= extraFrom {
		return t.readExtra(unit, address, count, tick)
	}
	if address+count > holdingLength {
		return nil, false
	}
	return t.holdingTable(unit, tick)[address : address+count], true
}

func (t *tables) readExtra(unit byte, address, count int, tick uint64) ([]uint16, bool) {
	if address+count > extraFrom+t.extra {
		return nil, false
	}
	out := make([]uint16, count)
	for i := range out {
		out[i] = uint16(t.noise(unit, address+i)) + uint16(tick)
	}
	return out, true
}

func (t *tables) holdingTable(unit byte, tick uint64) []uint16 {
	table := make([]uint16, writableFrom, holdingLength)
	swing := math.Sin(2*math.Pi*float64(tick%ticksPerPeriod)/ticksPerPeriod + float64(t.noise(unit, 0)%628)/100)
	temperature := math.Float32bits(float32(math.Round((21.5+3*swing)*100) / 100))
	table[0], table[1] = uint16(temperature>>16), uint16(temperature)
	table[2] = uint16(1100 + math.Round(150*swing))
	odometer := uint64(beyondFloat64) + uint64(t.noise(unit, 3)) + tick
	for i := range 4 {
		table[3+i] = uint16(odometer >> (48 - 16*i))
	}
	table[7] = uint16(unit)
	table[8] = uint16(int16(math.Round(100 * swing)))
	table[9] = uint16(tick / ticksPerRunFlip & 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(table, t.holding[unit][:]...)
}

// readInput returns input registers, false if one does not exist.
func (t *tables) readInput(unit byte, address, count int) ([]uint16, bool) {
	if address+count > inputLength {
		return nil, false
	}
	tick := t.tick()
	wide := t.noise(unit, 1) + uint32(tick)
	energy := math.Float64bits(float64(tick) / 10)
	table := []uint16{
		uint16(tick), uint16(wide >> 16), uint16(wide),
		uint16(energy >> 48), uint16(energy >> 32), uint16(energy >> 16), uint16(energy),
	}
	return table[address : address+count], true
}

// readCoils returns coils, false if one does not exist.
func (t *tables) readCoils(unit byte, address, count int) ([]bool, bool) {
	if address+count > coilLength {
		return nil, false
	}
	table := make([]bool, writableFrom, coilLength)
	table[0] = t.tick()/ticksPerRunFlip&1 == 1
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(table, t.coils[unit][:]...)[address : address+count], true
}

// readDiscrete returns discrete inputs, false if one does not exist: bit n is bit n of a
// counter that moves once a second.
func (t *tables) readDiscrete(_ byte, address, count int) ([]bool, bool) {
	if address+count > discreteLength {
		return nil, false
	}
	out := make([]bool, count)
	for i := range out {
		out[i] = t.tick()/ticksPerInput>>(address+i)&1 == 1
	}
	return out, true
}

// writeHolding sets writable registers, all or none.
func (t *tables) writeHolding(unit byte, address int, values []uint16) bool {
	if address < writableFrom || address+len(values) > holdingLength {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	copy(t.holding[unit][address-writableFrom:], values)
	return true
}

// writeCoils sets writable coils, all or none.
func (t *tables) writeCoils(unit byte, address int, values []bool) bool {
	if address < writableFrom || address+len(values) > coilLength {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	copy(t.coils[unit][address-writableFrom:], values)
	return true
}
