package appliance

import (
	"context"
	"net"
	"net/url"
	"reflect"
	"slices"
	"time"

	"crony/embedded/state"
	"crony/internal/version"
)

// self is the server's record in the keyspace.
func (s *Server) self() state.Server {
	cert, _ := s.id.own()
	return state.Server{ID: s.ID, Name: s.Name, Version: version.Read().Version, Agents: s.opts.AgentsAddress,
		People: s.opts.PeopleURL, Peer: s.opts.PeerAddress, StartedAt: s.started, Authority: s.id.issuer(),
		CertificateEnd: cert.Leaf.NotAfter.UTC(), Trusts: s.member.Trusts()}
}

// register keeps the server's record in the keyspace, as it is now.
func (s *Server) register(ctx context.Context) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for ctx.Err() == nil {
		record := s.self()
		presence, err := s.Store.RegisterServer(ctx, record)
		if err != nil {
			s.wait(ctx, time.Second)
			continue
		}
		for changed := false; !changed; {
			select {
			case <-presence.Lost():
				s.log.Warn("registration lost")
				changed = true
			case <-look.C:
				changed = !reflect.DeepEqual(record, s.self())
			case <-ctx.Done():
				leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				presence.Leave(leaving)
				return nil
			}
		}
	}
	return nil
}

func (s *Server) wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// hostsOf returns the hosts of addresses, for the server's certificate.
func hostsOf(peopleURL string, addresses ...string) []string {
	var hosts []string
	add := func(host string) {
		if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if u, err := url.Parse(peopleURL); err == nil {
		add(u.Hostname())
	}
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil {
			add(host)
		}
	}
	return hosts
}
