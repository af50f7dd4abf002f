package webui

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// listener keeps account of the connections that it accepted, which the framework does not let one close.
type listener struct {
	net.Listener
	closing sync.Once
	err     error // of closing
	mu      sync.Mutex
	conns   map[*conn]struct{}
	stopped bool
}

func newListener(ln net.Listener) *listener {
	return &listener{Listener: ln, conns: make(map[*conn]struct{})}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, listener: l}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	stopped := l.stopped
	l.mu.Unlock()
	if stopped {
		c.Close() //nolint:errcheck // nothing was sent on it
	}
	if secure, ok := nc.(*tls.Conn); ok {
		return &tlsConn{conn: c, tls: secure}, nil
	}
	return c, nil
}

// Close implements [net.Listener]; closing twice is no error.
func (l *listener) Close() error {
	l.closing.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// stop closes the listener, and the connections on which nothing was ever asked: browsers open some in advance.
func (l *listener) stop() {
	l.Close() //nolint:errcheck // Close keeps the error for whoever serves
	l.close(func(c *conn) bool { return !c.used.Load() })
}

// closeAll closes every connection, whatever goes on there.
func (l *listener) closeAll() { l.close(func(*conn) bool { return true }) }

func (l *listener) close(which func(*conn) bool) {
	l.mu.Lock()
	l.stopped = true
	var victims []*conn
	for c := range l.conns {
		if which(c) {
			victims = append(victims, c)
		}
	}
	l.mu.Unlock()
	for _, c := range victims {
		c.lingers.Store(false)
		c.Close() //nolint:errcheck // it is given up
	}
}

// conn bounds the time of each write rather than of a whole response, so that a stream may last, but not a client that
// takes nothing of it.
type conn struct {
	net.Conn
	listener *listener
	used     atomic.Bool // something was read
	lingers  atomic.Bool // see linger
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.used.Store(true)
	}
	return n, err
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	if c.lingers.Swap(false) {
		c.linger()
	}
	return c.Conn.Close()
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger reads on for a while what the client sends after it was answered. Closing with data unread resets the connection,
// and the client would see that instead of the answer (RFC 9112, section 9.6).
func (c *conn) linger() {
	raw, written := c.Conn, c.Conn
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
		if !secure.ConnectionState().HandshakeComplete {
			written = raw
		}
	}
	half, ok := written.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if raw.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, raw, lingerBytes) //nolint:errcheck // ends by an error always
	}
}

// tlsConn lets the framework see that a connection is secure: it looks for these two methods.
type tlsConn struct {
	*conn
	tls *tls.Conn
}

// Handshake completes the handshake before the first request is read: on the connection's own goroutine, and within the time
// that a request has. Who speaks plain HTTP is told so.
func (c *tlsConn) Handshake() error {
	err := c.tls.Handshake()
	if other, ok := errors.AsType[tls.RecordHeaderError](err); ok && other.Conn != nil && isHTTP(other.RecordHeader[:]) {
		c.lingers.Store(true)
		other.Conn.SetWriteDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // the write tells
		io.WriteString(other.Conn, plainAnswer)                 //nolint:errcheck // nobody is left who could be told
	}
	return err
}

// isHTTP says whether what came in place of a handshake begins as a request does.
func isHTTP(head []byte) bool {
	method, _, _ := bytes.Cut(head, []byte(" "))
	switch string(method) {
	case "GET", "HEAD", "PUT", "POST", "PATCH", "DELET", "OPTIO":
		return true
	}
	return false
}

const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\r\n" +
	`{"type":"about:blank","title":"Bad Request","status":400,"code":"invalid",` +
	`"detail":"this port speaks HTTPS","hint":"write https://"}`

// ConnectionState returns what was agreed on.
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// lingerer is what c.Context().Conn() is on a served connection.
type lingerer interface{ lingerOnClose() }

func (c *conn) lingerOnClose() { c.lingers.Store(true) }
