package hub

import (
	"errors"
	"io"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// greeter says in the log who was turned away at the door, and why: an agent whose certificate has expired sees no more than
// a connection that ends.
type greeter struct {
	credentials.TransportCredentials
	refusals *refusals
}

// ServerHandshake implements [credentials.TransportCredentials].
func (g greeter) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := g.TransportCredentials.ServerHandshake(conn)
	if err == nil {
		return &guest{Conn: secure, refusals: g.refusals}, info, nil
	}
	if !errors.Is(err, io.EOF) { // who hangs up without a word only looked whether the port is open
		g.refusals.add(conn.RemoteAddr(), "connection", err)
	}
	return nil, nil, err
}

// Clone implements [credentials.TransportCredentials].
func (g greeter) Clone() credentials.TransportCredentials {
	return greeter{g.TransportCredentials.Clone(), g.refusals}
}

// guest is a connection whose other end is known, but has not asked for anything yet. If it never does, the log says so.
type guest struct {
	net.Conn
	refusals *refusals
	said     int // bytes of the preface
}

// preface is how HTTP/2 begins: RFC 9113, section 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

var errNotHTTP2 = errors.New("it does not speak HTTP/2")

// Read implements [net.Conn]. There is a deadline only until the connection is set up.
func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.refusals.add(g.RemoteAddr(), "connection", errors.New("it did not begin to speak HTTP/2 in time"))
	}
	if rest := preface[g.said:]; rest != "" {
		m := min(n, len(rest))
		if string(p[:m]) != rest[:m] {
			g.refusals.add(g.RemoteAddr(), "connection", errNotHTTP2)
			return 0, errNotHTTP2
		}
		g.said += m
	}
	return n, err
}
