package gateway

import (
	"errors"
	"net"
	"syscall"

	"github.com/millwright/millwright/internal/spec"
)

// listen binds a plain TCP address. Anything but loopback is refused unless insecure is set:
// log-ins and values would cross the network in clear.
func listen(flag, addr string, insecure bool) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: %w", flag, addr, err).
			WithHint("give host:port, such as 127.0.0.1:8080")
	}
	if !insecure && (tcp.IP == nil || !tcp.IP.IsLoopback()) {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: it is not a loopback address and the listener is not encrypted", flag, addr).
			WithHint("use 127.0.0.1, or accept passwords in clear on that network with --insecure-listen")
	}
	l, err := net.ListenTCP("tcp", tcp)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, spec.Errorf(spec.Conflict, "cannot listen on %s %q: another program has that port", flag, addr).
			WithHint("stop that program, or choose another address with %s", flag)
	}
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot listen on %s %q: %w", flag, addr, err)
	}
	return l, nil
}
