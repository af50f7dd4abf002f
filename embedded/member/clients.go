package member

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
)

// clientPort serves etcd's own protocol to those who have a server's certificate.
type clientPort struct {
	address string
	stop    func() error // waits until nothing is served any more
}

// serveClients opens the port for etcd's clients, if one is wanted. etcd's own way is not taken, as it ends only when the
// clients have gone, or after six seconds.
func (m *Member) serveClients(o Options) error {
	if o.ClientListen == "" {
		return nil
	}
	info := o.Peer.tls()
	config, err := info.ServerConfig()
	if err != nil {
		return fmt.Errorf("serve etcd's clients: %w", err)
	}
	config.MinVersion = tls.VersionTLS13
	listener, err := net.Listen("tcp", o.ClientListen)
	if err != nil {
		return fmt.Errorf("serve etcd's clients: %w", err)
	}
	server := v3rpc.Server(m.etcd.Server, config, nil)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	m.clients = clientPort{address: listener.Addr().String(), stop: func() error {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve etcd's clients: %w", err)
		}
		return nil
	}}
	return nil
}

// Clients returns the address, HOST:PORT, at which etcd's own clients are served; "" if they are not.
func (m *Member) Clients() string { return m.clients.address }
