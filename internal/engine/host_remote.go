package engine

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// remotePatience is how long a port of the engine's host is tried. Who answers there does so at
// once; a firewall does not.
const remotePatience = time.Second

// remoteListener finds out whether something answers at a port of the engine's host. What only
// that host can see it does not.
func (e *Engine) remoteListener(ctx context.Context, address string, number uint16) string {
	host := e.at
	if ip, err := netip.ParseAddr(address); err == nil && !ip.IsUnspecified() {
		if ip.IsLoopback() {
			return ""
		}
		host = address
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(number)))
	conn, err := (&net.Dialer{Timeout: remotePatience}).DialContext(ctx, "tcp", target)
	if err != nil {
		return ""
	}
	if err := conn.Close(); err != nil {
		e.log.Debug("cannot close a connection", "error", err)
	}
	return "something that answers at " + target
}

// reachedBy is the name of the engine's host for the server's certificate; empty for this one. The
// instance remembers it, so that whoever comes by another name does not change it.
func (e *Engine) reachedBy() string {
	if ip, err := netip.ParseAddr(e.at); e.at == "localhost" || err == nil && ip.IsLoopback() {
		return "" // named anyway
	}
	return e.at
}
