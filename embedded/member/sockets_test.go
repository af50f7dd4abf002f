package member

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHasten has connections to one port lost soon, whether they were made before or after, and leaves all others alone.
func TestHasten(t *testing.T) {
	t.Parallel()
	port, other := listen(t), listen(t)
	before, beforeThere := accepted(t, port)
	if err := hasten(port.Addr()); err != nil {
		t.Fatal(err)
	}
	after, afterThere := accepted(t, port)
	stranger, strangerThere := accepted(t, other)
	want := int(lostTime.Milliseconds())
	for name, c := range map[string]struct {
		conn *net.TCPConn
		want int
	}{
		"accepted before":   {before, want},
		"accepted after":    {after, want},
		"on another port":   {stranger, 0},
		"its other end":     {strangerThere, 0},
		"other end, before": {beforeThere, 0},
		"other end, after":  {afterThere, 0},
	} {
		if got := userTimeout(t, c.conn); got != c.want {
			t.Errorf("%s: %d ms, want %d", name, got, c.want)
		}
	}
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// accepted returns both ends of a connection.
func accepted(t *testing.T, l *net.TCPListener) (here, there *net.TCPConn) {
	t.Helper()
	there, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	if here, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	return here, there
}

func userTimeout(t *testing.T, c *net.TCPConn) (ms int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return ms
}
