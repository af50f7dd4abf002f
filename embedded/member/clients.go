package member

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"

	"crony"
	"crony/internal/pki"
)

// clientPort serves etcd's own protocol to those who have a server's certificate.
type clientPort struct {
	address string
	stop    func() error // waits until nothing is served any more
}

// ServeClients opens the store to etcd's own tools at listen, IP:PORT, until the member is closed. Only those get in whose
// certificate is a server's and whom admit returns no error for; it is asked for each connection. It is called once at most,
// before Close. Invalid if listen is no address or the member has no certificates.
//
// etcd's own way to open the port is not taken, as it ends only when the clients have gone, or after six seconds.
func (m *Member) ServeClients(listen string, admit func(pki.Identity) error) error {
	if _, err := netip.ParseAddrPort(listen); err != nil {
		return crony.Errorf(crony.Invalid, "the address to listen on for etcd's clients must be IP:PORT, not %s", listen)
	}
	if m.peer.CertFile == "" {
		return crony.Errorf(crony.Invalid, "etcd's clients can't be served without the certificates that members have")
	}
	info := m.peer.tls()
	config, err := info.ServerConfig()
	if err != nil {
		return fmt.Errorf("serve etcd's clients: %w", err)
	}
	config.MinVersion = tls.VersionTLS13
	config.SessionTicketsDisabled = true // each connection shows its certificate
	config.VerifyConnection = func(state tls.ConnectionState) error {
		who, err := pki.PeerIdentity(state)
		if err != nil {
			return err
		}
		return admit(who)
	}
	listener, err := net.Listen("tcp", listen)
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
