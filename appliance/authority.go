package appliance

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"crony"
	"crony/embedded/member"
	"crony/internal/pki"
)

// renewTick is how often a server looks whether its certificate ends soon.
const renewTick = time.Hour

// followAuthority takes over what the keyspace says of the authorities whenever that changes, and renews the server's
// certificate in time.
func (s *Server) followAuthority(ctx context.Context) error {
	feed := s.Store.Changes("")
	defer feed.Close()
	go func() {
		tick := time.NewTicker(renewTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := s.id.refresh(); err != nil {
					s.log.Error("the server's certificate could not be renewed", "err", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	var seen int64
	for {
		changes, err := feed.Next(ctx)
		if err != nil {
			return nil
		}
		record, rev, ok := s.Store.Authority()
		if !ok || rev == seen || !changes.Cluster && !changes.Reset {
			continue
		}
		if err := s.id.adopt(record); err != nil {
			s.log.Error("the cluster's authorities could not be taken over", "err", err)
			continue
		}
		seen = rev
	}
}

// RotateAuthority implements crony.Cluster.
func (s *Server) RotateAuthority(ctx context.Context, step crony.RotateStep, force bool) error {
	now, rev, ok := s.Store.Authority()
	if !ok {
		return crony.Errorf(crony.Internal, "the keyspace names no authority")
	}
	if err := s.id.adopt(now); err != nil { // so that what is changed is what is there
		return err
	}
	switch step {
	case crony.RotateStart:
		next, err := s.id.rotated()
		if err != nil {
			return err
		}
		return s.Store.PutAuthority(ctx, next, rev)
	case crony.RotateFinish:
		next, err := s.id.rotationDone()
		if err != nil {
			return err
		}
		if err := s.dependents(ctx); err != nil && !force {
			return err
		}
		return s.Store.PutAuthority(ctx, next, rev)
	}
	return crony.Errorf(crony.Invalid, "%q is no step", step).WithHint("start or finish")
}

// dependents is a Conflict that names who would be cut off if the authority of before were trusted no more.
func (s *Server) dependents(ctx context.Context) error {
	_, current := s.id.trusted()
	var names []string
	restart := false
	for _, server := range s.Statuses(ctx) {
		switch {
		case server.State != crony.ServerUp:
			names = append(names, "server "+server.Name+" (not up)")
		case server.Authority != current:
			names = append(names, "server "+server.Name+" (has not renewed yet)")
		case server.Peer != "" && !slices.Contains(server.Trusts, current): // without a peer port, its store trusts nobody
			names = append(names, "server "+server.Name+" (to be restarted)")
			restart = true
		}
	}
	agents, err := s.Store.ListAgents(ctx)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if a.Up && a.Authority != current {
			names = append(names, "agent "+a.Name+" (has not renewed yet)")
		}
	}
	if len(names) == 0 {
		return nil
	}
	hint := "wait until they have renewed, which they do by themselves; or --force to cut them off"
	if restart {
		hint = "restart servers one after the other: their stores read whom to trust when they start; or --force to cut them off"
	}
	return crony.Errorf(crony.Conflict, "they still depend on the authority of before: %s", list(names)).WithHint("%s", hint)
}

// peer is the store's endpoint for the other servers' stores, and the certificates for it, which it reads by itself.
func (i *identity) peer(listen, advertise string) member.Peer {
	leaf := filepath.Join(i.dir, leafFile)
	return member.Peer{Listen: listen, Advertise: advertise, CertFile: leaf, KeyFile: leaf, CAFile: filepath.Join(i.dir, bundleFile)}
}

// issuer returns the fingerprint of the authority that signed the server's certificate.
func (i *identity) issuer() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return pki.Issuer(i.cert.Leaf, i.trust)
}

// certificate is a certificate in files that somebody else keeps, and may replace at any time.
type certificate struct {
	certFile, keyFile string

	mu     sync.Mutex
	looked time.Time
	stamps [2]time.Time
	cert   *tls.Certificate
}

// get returns the certificate as it is now in its files; while those can't be read, as it was before.
func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && time.Since(c.looked) < time.Second {
		return c.cert, nil
	}
	c.looked = time.Now()
	var stamps [2]time.Time
	for i, file := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(file); err == nil {
			stamps[i] = info.ModTime()
		}
	}
	if c.cert != nil && stamps == c.stamps {
		return c.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	switch {
	case err == nil:
		c.cert, c.stamps = &cert, stamps
	case c.cert == nil:
		return nil, err
	}
	return c.cert, nil
}
