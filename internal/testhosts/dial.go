package testhosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to an IP:PORT as a program on the host would: the connection is in the host's network, and stays there. So a
// test can speak to a host's programs itself.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	// A socket belongs to the network that its thread was in when it was made, and an address that is a number is dialled on the
	// goroutine that asks. The thread must go back, and not end: what it has started would be killed with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look where the test is: %w", err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + h.ns)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", h.Name, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the network of %s: %w", h.Name, err)
	}
	var d net.Dialer
	conn, failed := d.DialContext(ctx, network, address)
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		panic(fmt.Sprintf("the test is lost in the network of %s: %v", h.Name, err)) // all that it starts would be there too
	}
	return conn, failed
}
