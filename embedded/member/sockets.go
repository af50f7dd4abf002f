package member

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// lostTime is after how long without a word from the other's kernel a connection of the peers' port is lost.
//
// Members stream to each other over connections that the receiving one has opened. When they can't reach each other for a while,
// TCP tries again ever more seldom: a member that was cut off for 7 s heard nothing for 5 s more, as if it still were. etcd means
// to end such connections after 5 s, but what should do so on the receiving side is not in effect (in 3.7, its transport has a
// DialContext, and the Dial with the timeouts is not asked), and the sending side notices only when its buffer is full. Once it
// has, it sends over a connection that it makes itself, as soon as that can be had.
const lostTime = 2 * time.Second

// hasten has the connections that are made to a port of this process, and those that were, be lost after lostTime. etcd lets
// nobody come near its sockets, so they are looked for; those that come later take it over from the one that listens. That must
// not be one of Multipath TCP, which knows no such time: go.mod says so, for it is what Go listens by.
func hasten(at net.Addr) error {
	tcp, ok := at.(*net.TCPAddr)
	if !ok {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the process's sockets: %w", err)
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || portOf(fd) != tcp.Port {
			continue
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostTime.Milliseconds()))
		if err != nil {
			return fmt.Errorf("set the timeout of the peers' port: %w", err)
		}
	}
	return nil
}

// portOf returns the port that a file is bound to; 0 if it is no socket of TCP.
func portOf(fd int) int {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || kind != unix.IPPROTO_TCP && kind != unix.IPPROTO_MPTCP {
		return 0
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch own := own.(type) {
	case *unix.SockaddrInet4:
		return own.Port
	case *unix.SockaddrInet6:
		return own.Port
	}
	return 0
}
