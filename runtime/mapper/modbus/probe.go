package modbus

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

// probeTimeout is the longest wait for a probe's answer.
const probeTimeout = 5 * time.Second

// ProbeReport is what a device gave, read in every way, so that a person can see which is right.
type ProbeReport struct {
	Device    string       `json:"device"`
	Unit      int          `json:"unit"`
	Fc        int          `json:"fc"`
	Address   int          `json:"address"`
	Length    int          `json:"length"`
	Hex       string       `json:"hex,omitempty"`
	Text      string       `json:"text,omitempty"`
	Registers []uint16     `json:"registers,omitempty"`
	Bits      []bool       `json:"bits,omitempty"`
	Values    []ProbeValue `json:"values,omitempty"`
}

// ProbeValue is the registers as one data type. Values are written as in JSON; NaN and the
// infinities as strings.
type ProbeValue struct {
	DataType string `json:"dataType"`
	Values   []any  `json:"values"`
}

// Probe reads length registers or bits of a Modbus TCP device (addr is host:port) with fc 1
// to 4. It returns when ctx ends, whatever the device does.
func Probe(ctx context.Context, addr string, unit, fc, address, length int) (ProbeReport, error) {
	report := ProbeReport{Device: addr, Unit: unit, Fc: fc, Address: address, Length: length}
	c, err := probeConnector(addr, unit)
	if err != nil {
		return report, err
	}
	if err := checkFunction(mapper.OpRead, fc); err != nil {
		return report, err
	}
	p := &point{span: span{table{byte(unit), byte(fc)}, address, length}, dataType: dataType{kind: kindRaw}}
	most, _ := c.limits.of(p.table)
	if length < 1 || length > most {
		return report, spec.Errorf(spec.Invalid, "cannot probe a length of %d: 1 to %d fit into a request", length, most)
	}
	if err := p.check(mapper.OpRead, most); err != nil {
		return report, err
	}
	data, err := c.probe(ctx, p.span)
	if err != nil {
		return report, probeAdvice(err)
	}
	report.fill(p.table, data)
	return report, nil
}

func probeConnector(addr string, unit int) (*connector, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot use %q as host:port: %w", addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 1 {
		return nil, spec.Errorf(spec.Invalid, "cannot use port %q", portText)
	}
	conn := defaultConnection()
	conn.Host, conn.Port, conn.UnitID = host, port, unit
	conn.SocketTimeout, conn.MaxBatchSize = probeTimeout.Milliseconds(), mostRegisters
	if err := checkConnection(conn); err != nil {
		return nil, err
	}
	return &connector{
		config: mapper.Config{Log: slog.New(slog.DiscardHandler)}, conn: conn,
		limits: limits{registers: mostRegisters, bits: mostBits},
	}, nil
}

func (c *connector) probe(ctx context.Context, s span) ([]byte, error) {
	l, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	var data []byte
	asked := make(chan error, 1)
	go func() {
		got, err := l.ask(s, nil)
		data = got
		l.close()
		asked <- err
	}()
	select {
	case err := <-asked:
		return data, err
	case <-ctx.Done():
		return nil, spec.Errorf(spec.Unavailable, "cannot get an answer from %s: %w", target(c.conn), ctx.Err())
	}
}

// probeAdvice says what to try next.
func probeAdvice(err error) error {
	var e *requestError
	if !errors.As(err, &e) {
		return err
	}
	out := spec.Errorf(spec.Unavailable, "cannot probe %w", err)
	switch e.fault {
	case faultSilent, faultNoTarget:
		return out.WithHint("try another --unit; most devices are unit 1, 0 or 255")
	case faultAddress:
		return out.WithHint("try --length 1, another --address (they count from 0: a manual's 40001 is 0) or another --fc")
	}
	return out
}

func (r *ProbeReport) fill(t table, data []byte) {
	if t.bits() {
		r.Bits = toBits(data)
		r.Hex = hex.EncodeToString(packed(t, data))
		return
	}
	r.Hex, r.Text = hex.EncodeToString(data), printable(data)
	for i := 0; i < len(data); i += 2 {
		r.Registers = append(r.Registers, uint16(data[i])<<8|uint16(data[i+1]))
	}
	for _, k := range numbers {
		for _, o := range orders {
			d := dataType{kind: k, order: o}
			if repeats := d.size() == 1 && (o == orderBEWS || o == orderLEWS); repeats || 2*d.size() > len(data) {
				continue
			}
			v := ProbeValue{DataType: d.String()}
			for i := 0; i+2*d.size() <= len(data); i += 2 * d.size() {
				v.Values = append(v.Values, jsonSafe(d.decodeNumber(data[i:i+2*d.size()])))
			}
			r.Values = append(r.Values, v)
		}
	}
}

func jsonSafe(v any) any {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return v
}

// printable shows bytes as ASCII, with a dot for what cannot be printed.
func printable(data []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(latin1(data)))
}

// latin1 makes one rune of each byte.
func latin1(data []byte) []rune {
	out := make([]rune, len(data))
	for i, b := range data {
		out[i] = rune(b)
	}
	return out
}

// WriteText prints the report for people.
func (r ProbeReport) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s, unit %d, fc %d, address %d, length %d\n\n", r.Device, r.Unit, r.Fc, r.Address, r.Length)
	fmt.Fprintf(out, "hex\t%s\n", r.Hex)
	if r.Text != "" {
		fmt.Fprintf(out, "text\t%s\n", r.Text)
	}
	for i, bit := range r.Bits {
		fmt.Fprintf(out, "%d\t%t\n", r.Address+i, bit)
	}
	for _, v := range r.Values {
		fmt.Fprintf(out, "%s\t%s\n", v.DataType, strings.Trim(fmt.Sprint(v.Values), "[]"))
	}
	return out.Flush()
}
