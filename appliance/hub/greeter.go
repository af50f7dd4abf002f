package hub

import (
	"errors"
	"io"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"
)

// greeter says in the log who was turned away at the door, and why: an agent whose certificate has expired sees no more than
// a connection that ends.
type greeter struct {
	credentials.TransportCredentials
	log *slog.Logger
}

// ServerHandshake implements [credentials.TransportCredentials].
func (g greeter) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := g.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // who hangs up without a word only looked whether the port is open
		g.log.Warn("connection refused", "from", conn.RemoteAddr().String(), "err", err)
	}
	return secure, info, err
}

// Clone implements [credentials.TransportCredentials].
func (g greeter) Clone() credentials.TransportCredentials {
	return greeter{g.TransportCredentials.Clone(), g.log}
}
