// Package modbus is the mapper's Modbus driver: Modbus TCP, RTU over TCP, UDP, TLS and serial
// lines. It joins neighbouring addresses into few requests, keeps one bad address and one silent
// unit from spoiling the others, and never takes a late answer for a later question's.
//
// It stands on github.com/simonvetter/modbus, whose client knows neither contexts nor
// reconnection. docs/decisions/0010-modbus-client.md says how the two are brought together.
package modbus

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	defaultInterval = time.Second
	longestTimeout  = 24 * time.Hour
	// registerGap and bitGap are the holes that are read along with their neighbours: it is
	// cheaper to transfer 32 bytes more than to ask again.
	registerGap = 16
	bitGap      = 128
)

// Driver returns the protocol for the gateway's list.
func Driver() mapper.Driver {
	return mapper.Driver{Spec: protocol.Modbus, New: newConnector}
}

// connector holds one connection's checked settings and what outlives a session.
type connector struct {
	config mapper.Config
	conn   protocol.ModbusConnection
	limits limits

	// abandoned counts requests and dials that were left to hang when they were given up.
	abandoned atomic.Int64

	// single is set once the device has shown that it takes one connection only.
	single atomic.Bool

	mu    sync.Mutex
	units map[byte]bool // that points name
	// doubts are questions that the last session got no answer to. The next dial asks one of
	// them, so that a machine which accepts connections and nothing else is not called connected.
	doubts []span
}

func newConnector(config mapper.Config) (mapper.Connector, error) {
	conn := defaultConnection()
	if err := json.Unmarshal(config.Properties, &conn); err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the Modbus connection: %w", err)
	}
	if err := checkConnection(conn); err != nil {
		return nil, err
	}
	return &connector{
		config: config, conn: conn, units: map[byte]bool{},
		limits: limits{
			registers: conn.MaxBatchSize, bits: min(16*conn.MaxBatchSize, mostBits),
			registerGap: registerGap, bitGap: bitGap, join: conn.BatchReadEnabled,
		},
	}, nil
}

// defaultConnection is what the struct's tags say, for properties that come without defaults.
func defaultConnection() protocol.ModbusConnection {
	return protocol.ModbusConnection{
		UnitID: 1, SocketTimeout: 30000, Scheme: "tcp", BatchReadEnabled: true, MaxBatchSize: 120,
	}
}

func checkConnection(c protocol.ModbusConnection) error {
	switch {
	case c.Scheme == "rtu" && c.SerialPort == "":
		return spec.Errorf(spec.Invalid, "cannot use scheme rtu without a serialPort").WithHint("name the device file, such as /dev/ttyUSB0")
	case c.Scheme != "rtu" && c.Host == "":
		return spec.Errorf(spec.Invalid, "cannot use scheme %q without a host", c.Scheme)
	case c.Port < 0 || c.Port > 65535:
		return spec.Errorf(spec.Invalid, "cannot use port %d", c.Port)
	case c.MaxBatchSize < 1 || c.MaxBatchSize > mostRegisters:
		return spec.Errorf(spec.Invalid, "cannot use maxBatchSize %d: 1 to %d registers fit into a request", c.MaxBatchSize, mostRegisters)
	case c.UnitID < 0 || c.UnitID > 255:
		return spec.Errorf(spec.Invalid, "cannot use unitId %d: 0 to 255 exist", c.UnitID)
	case c.TrustAllCertificates:
		return spec.Errorf(spec.Invalid, "cannot trust all certificates over Modbus: the device's is always checked").
			WithHint("put the device's own certificate into caCert and leave trustAllCertificates out")
	}
	for name, ms := range map[string]int64{"socketTimeout": c.SocketTimeout, "connectDelay": c.ConnectDelay, "requestDelay": c.RequestDelay} {
		if ms < 0 || ms > longestTimeout.Milliseconds() {
			return spec.Errorf(spec.Invalid, "cannot use a %s of %d ms: a day is the most", name, ms)
		}
	}
	if c.SocketTimeout == 0 {
		return spec.Errorf(spec.Invalid, "cannot use a socketTimeout of 0 ms")
	}
	_, err := serialSettings(c)
	return err
}

// Point checks an address and notes its unit.
func (c *connector) Point(op mapper.Operation, address json.RawMessage) (mapper.Point, error) {
	p, err := parsePoint(op, address, c.conn)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.units[p.unit] = true
	return p, nil
}

// Dial connects. Modbus has no log-in: a device that accepts the connection is connected,
// unless the last session ended because nobody answered; then one answer is asked for.
func (c *connector) Dial(ctx context.Context) (mapper.Session, error) {
	l, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.greet(ctx, l); err != nil {
		return nil, err
	}
	return newSession(c, l), nil
}

// greet waits the connectDelay and settles a doubt of the last session. It closes l on failure.
func (c *connector) greet(ctx context.Context, l *link) error {
	if err := sleep(ctx, milliseconds(c.conn.ConnectDelay)); err != nil {
		l.close()
		return err
	}
	doubt, ok := c.nextDoubt()
	if !ok {
		return nil
	}
	if err := l.askWithin(ctx, c, doubt); !reached(err) {
		return spec.Errorf(spec.Unavailable, "cannot get an answer from %s, which accepts connections: %w", target(c.conn), err)
	}
	c.setDoubts(nil)
	return nil
}

// nextDoubt takes turns, so that one unit that stays silent does not keep the others away.
func (c *connector) nextDoubt() (span, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.doubts) == 0 {
		return span{}, false
	}
	first := c.doubts[0]
	c.doubts = append(c.doubts[1:], first)
	return first, true
}

func (c *connector) setDoubts(doubts []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubts = doubts
}

// abandon notes that something was left to hang.
func (c *connector) abandon(what string) {
	n := c.abandoned.Add(1)
	c.config.Log.Info("the device hangs; what waits for it ends by its time-out", "waiting", what, "timeoutMs", c.conn.SocketTimeout, "count", n)
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// sleep waits for d unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
