package modbus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	lib "github.com/simonvetter/modbus"

	"github.com/millwright/millwright/internal/commissioning/protocol"
	"github.com/millwright/millwright/internal/spec"
)

// link is one client of the library. One goroutine at a time uses it.
type link struct {
	client *lib.ModbusClient
}

// framed reports whether answers carry the transaction id of their question. RTU frames have
// none: after a time-out the wire must be cleared before the next question.
func (c *connector) framed() bool { return c.conn.Scheme != "rtu" && c.conn.Scheme != "rtuovertcp" }

func (c *connector) timeout() time.Duration { return milliseconds(c.conn.SocketTimeout) }

// newClient makes the library's client. No I/O but reading certificates.
func (c *connector) newClient() (*lib.ModbusClient, error) {
	serial, err := serialSettings(c.conn)
	if err != nil {
		return nil, err
	}
	conf := serial
	conf.URL = target(c.conn)
	conf.Timeout = c.timeout()
	conf.Logger = slog.NewLogLogger(c.config.Log.Handler(), slog.LevelDebug)
	if c.conn.Scheme == "tls" {
		if err := c.addTLS(&conf); err != nil {
			return nil, err
		}
	}
	return lib.NewClient(&conf)
}

// target is the library's URL of a connection.
func target(c protocol.ModbusConnection) string {
	if c.Scheme == "rtu" {
		return "rtu://" + c.SerialPort
	}
	scheme, port := c.Scheme, c.Port
	if scheme == "tls" {
		scheme = "tcp+tls"
	}
	switch {
	case port == 0 && c.Scheme == "tls":
		port = 802
	case port == 0:
		port = 502
	}
	return scheme + "://" + net.JoinHostPort(c.Host, strconv.Itoa(port))
}

// serialSettings translates and checks the settings of a serial line.
func serialSettings(c protocol.ModbusConnection) (lib.ClientConfiguration, error) {
	var conf lib.ClientConfiguration
	switch c.Scheme {
	case "tcp", "udp", "tls", "rtuovertcp":
		return conf, nil
	case "rtu":
	default:
		return conf, spec.Errorf(spec.Invalid, "cannot use scheme %q", c.Scheme).WithHint("tcp, rtuovertcp, rtu, udp and tls exist")
	}
	conf.Speed, conf.DataBits, conf.StopBits = 9600, 8, 1
	for _, s := range []struct {
		name      string
		given     int
		low, high int
		to        *uint
	}{{"baudRate", c.BaudRate, 50, 4000000, &conf.Speed}, {"dataBits", c.DataBits, 5, 8, &conf.DataBits}, {"stopBits", c.StopBits, 1, 2, &conf.StopBits}} {
		if s.given == 0 {
			continue
		}
		if s.given < s.low || s.given > s.high {
			return conf, spec.Errorf(spec.Invalid, "cannot use %s %d: %d to %d exist", s.name, s.given, s.low, s.high)
		}
		*s.to = uint(s.given)
	}
	switch c.Parity {
	case "", "none":
		conf.Parity = lib.PARITY_NONE
	case "even":
		conf.Parity = lib.PARITY_EVEN
	case "odd":
		conf.Parity = lib.PARITY_ODD
	default:
		return conf, spec.Errorf(spec.Invalid, "cannot use parity %q: none, even and odd exist", c.Parity)
	}
	return conf, nil
}

// addTLS sets the client's certificate (Modbus security demands one: without clientCert it is the
// data directory's) and the authorities that vouch for the device.
func (c *connector) addTLS(conf *lib.ClientConfiguration) error {
	cert, err := c.clientCertificate()
	if err != nil {
		return fmt.Errorf("cannot use Modbus over TLS without a client certificate: %w", err)
	}
	conf.TLSClientCert = &cert
	if c.conn.CaCert == "" {
		conf.TLSRootCAs, err = x509.SystemCertPool()
		return err
	}
	conf.TLSRootCAs = x509.NewCertPool()
	if !conf.TLSRootCAs.AppendCertsFromPEM([]byte(c.conn.CaCert)) {
		return spec.Errorf(spec.Invalid, "cannot find a PEM certificate in caCert")
	}
	return nil
}

func (c *connector) clientCertificate() (tls.Certificate, error) {
	if c.conn.ClientCert == "" && c.conn.ClientPrivateKey == "" {
		return c.config.ClientCertificate()
	}
	return tls.X509KeyPair([]byte(c.conn.ClientCert), []byte(c.conn.ClientPrivateKey))
}

// open connects. The library's dial knows no context: if ctx ends first, it is left to end in
// the background and closed there.
func (c *connector) open(ctx context.Context) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, err := c.newClient()
	if err != nil {
		return nil, err
	}
	opened := make(chan error, 1)
	go func() { opened <- client.Open() }()
	select {
	case err := <-opened:
		if err != nil {
			return nil, spec.Errorf(spec.Unavailable, "cannot connect to %s: %w", target(c.conn), err)
		}
		return &link{client: client}, nil
	case <-ctx.Done():
		c.abandon("dial")
		go func() {
			if <-opened == nil {
				client.Close() //nolint:errcheck // nobody is left to be told
			}
		}()
		return nil, spec.Errorf(spec.Unavailable, "cannot connect to %s: %w", target(c.conn), ctx.Err())
	}
}

// close closes the socket. It waits for a request that is under way; only its owner calls it.
func (l *link) close() {
	l.client.Close() //nolint:errcheck // the link is given up, whatever it says
}

// askWithin asks for s and gives up when ctx ends. The link is closed unless somebody answered.
func (l *link) askWithin(ctx context.Context, c *connector, s span) error {
	asked := make(chan error, 1)
	go func() {
		_, err := l.ask(s, nil)
		asked <- err
	}()
	select {
	case err := <-asked:
		if !reached(err) {
			l.close()
		}
		return err
	case <-ctx.Done():
		c.abandon("first request")
		go func() {
			defer l.close()
			<-asked //nolint:errcheck // nobody is left to be told
		}()
		return ctx.Err()
	}
}

// ask sends one request, a write if data is given, and returns the entries that were read: two
// bytes a register, one byte a bit. It blocks for up to the socket time-out.
func (l *link) ask(s span, data []byte) ([]byte, error) {
	if err := l.client.SetUnitId(s.unit); err != nil {
		return nil, err
	}
	out, err := l.call(uint16(s.first), uint16(s.count), s.fc, data)
	if err != nil {
		return nil, explain(s, err, data != nil)
	}
	return out, nil
}

func (l *link) call(first, count uint16, fc byte, data []byte) ([]byte, error) {
	switch fc {
	case 1:
		bits, err := l.client.ReadCoils(first, count)
		return fromBits(bits), err
	case 2:
		bits, err := l.client.ReadDiscreteInputs(first, count)
		return fromBits(bits), err
	case 3:
		return l.client.ReadRawBytes(first, 2*count, lib.HOLDING_REGISTER)
	case 4:
		return l.client.ReadRawBytes(first, 2*count, lib.INPUT_REGISTER)
	case 5:
		return nil, l.client.WriteCoil(first, data[0] != 0)
	case 6:
		return nil, l.client.WriteRegister(first, uint16(data[0])<<8|uint16(data[1]))
	case 15:
		return nil, l.client.WriteCoils(first, toBits(data))
	case 16:
		return nil, l.client.WriteRawBytes(first, data)
	}
	return nil, fmt.Errorf("fc %d is not known", fc)
}

func fromBits(bits []bool) []byte {
	out := make([]byte, len(bits))
	for i, bit := range bits {
		if bit {
			out[i] = 1
		}
	}
	return out
}

func toBits(data []byte) []bool {
	out := make([]bool, len(data))
	for i, bit := range data {
		out[i] = bit != 0
	}
	return out
}

// fault is what a failed request means for what comes next.
type fault int

const (
	faultLost      fault = iota // the connection is gone or out of step
	faultSilent                 // no answer came in time
	faultForeign                // a whole frame came, of another unit
	faultBroken                 // what came is no answer to the question
	faultException              // the device refused the request
	faultAddress                // it refused it in a way that a smaller request may avoid
	faultNoTarget               // a gateway says that the unit behind it does not answer
)

// requestError is why a request failed.
type requestError struct {
	fault fault
	span  span
	text  string
	cause error
}

func (e *requestError) Error() string {
	return fmt.Sprintf("unit %d, fc %d, address %d, length %d: %s", e.span.unit, e.span.fc, e.span.first, e.span.count, e.text)
}

func (e *requestError) Unwrap() error { return e.cause }

// explain sorts the library's errors.
func explain(s span, err error, write bool) error {
	e := &requestError{fault: faultLost, span: s, text: err.Error(), cause: err}
	switch {
	case errors.Is(err, lib.ErrRequestTimedOut):
		e.fault, e.text = faultSilent, "no answer in time"
		if write {
			e.text += "; whether it was written is not known"
		}
	case errors.Is(err, lib.ErrBadUnitId):
		e.fault, e.text = faultForeign, "another unit answered"
	case errors.Is(err, lib.ErrBadCRC), errors.Is(err, lib.ErrShortFrame), errors.Is(err, lib.ErrProtocolError):
		e.fault, e.text = faultBroken, "the answer is broken: "+err.Error()
	case errors.Is(err, lib.ErrIllegalDataAddress), errors.Is(err, lib.ErrIllegalDataValue), errors.Is(err, lib.ErrServerDeviceFailure):
		e.fault, e.text = faultAddress, "the device refuses: "+err.Error()
	case errors.Is(err, lib.ErrGWTargetFailedToRespond), errors.Is(err, lib.ErrGWPathUnavailable):
		e.fault, e.text = faultNoTarget, "the gateway reports: "+err.Error()
	case errors.Is(err, lib.ErrIllegalFunction), errors.Is(err, lib.ErrServerDeviceBusy), errors.Is(err, lib.ErrAcknowledge),
		errors.Is(err, lib.ErrMemoryParityError), strings.HasPrefix(err.Error(), "unknown exception code"):
		e.fault, e.text = faultException, "the device refuses: "+err.Error()
	}
	return e
}

// faultOf returns what err means; an error of another kind is a lost link.
func faultOf(err error) fault {
	var e *requestError
	if errors.As(err, &e) {
		return e.fault
	}
	return faultLost
}

// answered reports whether the unit gave an answer, be it an exception.
func answered(err error) bool {
	if err == nil {
		return true
	}
	f := faultOf(err)
	return f == faultException || f == faultAddress
}

// reached reports whether anybody at the other end answered, be it a gateway for its unit.
func reached(err error) bool { return answered(err) || faultOf(err) == faultNoTarget }
