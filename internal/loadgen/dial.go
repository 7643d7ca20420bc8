package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// dial opens a connection to the server, with TLS where it has any.
func dial(ctx context.Context, s *Server, plain func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := plain(ctx, s.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %q: %w", s.Address, err)
	}
	if s.TLS == nil {
		return c, nil
	}
	secure := tls.Client(c, s.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("cannot secure the connection to %q: %w", s.Address, closing(c, err))
	}
	return secure, nil
}

// closing closes c after err, and joins the two errors.
func closing(c net.Conn, err error) error { return errors.Join(err, c.Close()) }
