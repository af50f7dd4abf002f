package appliance

import (
	"context"

	"crony"
	"crony/internal/pki"
)

// join gives a host that shows a join token what makes it part of the cluster.
func (s *Server) join(ctx context.Context, req crony.JoinRequest, remote string) (crony.JoinAnswer, error) {
	secret, err := crony.ParseJoinSecret(req.Token)
	if err != nil {
		return crony.JoinAnswer{}, err
	}
	key, err := pki.RequestKey([]byte(req.Request))
	if err != nil {
		return crony.JoinAnswer{}, crony.Errorf(crony.Invalid, "the certificate request can't be used: %v", err)
	}
	if secret.For == crony.JoinServer {
		if err := s.mayJoin(ctx, req); err != nil {
			return crony.JoinAnswer{}, err
		}
	}
	id, err := s.Store.RedeemJoinToken(ctx, secret, key, newID())
	if err != nil {
		s.log.Warn("join refused", "from", remote, "name", req.Name, "err", err)
		return crony.JoinAnswer{}, err
	}
	if _, buried := s.Store.Buried(id); buried {
		return crony.JoinAnswer{}, crony.Errorf(crony.Forbidden, "this host was removed after it had joined by this token").
			WithHint("make another token, and let it join with an empty data directory")
	}
	chain, err := s.id.sign([]byte(req.Request), pki.Role(secret.For), id)
	if err != nil {
		return crony.JoinAnswer{}, err
	}
	authorities, _ := s.id.trusted()
	answer := crony.JoinAnswer{Cluster: s.Cluster, ID: id, Certificate: string(chain), Authorities: string(authorities)}
	for _, r := range s.Store.Servers() {
		answer.Servers = append(answer.Servers, r.Agents)
	}
	s.log.Info("a host joins", "as", string(secret.For), "id", id, "name", req.Name, "from", remote)
	if secret.For != crony.JoinServer {
		return answer, nil
	}
	answer.SealKey = s.id.seal.Hex()
	if req.Replace != "" {
		err = s.RemoveServer(ctx, req.Replace)
		if crony.CodeOf(err) == crony.NotFound { // removed already, by a request of before
			err = nil
		}
	}
	return answer, err
}

// mayJoin refuses a server whose name another has, and the replacing of one that is up, before a token is used.
func (s *Server) mayJoin(ctx context.Context, req crony.JoinRequest) error {
	for _, server := range s.Statuses(ctx) {
		replaced := req.Replace != "" && (server.ID == req.Replace || server.Name == req.Replace)
		switch {
		case replaced && server.State == crony.ServerUp:
			return crony.Errorf(crony.Conflict, "%s is up, and need not be replaced", server.Name).
				WithHint("`crony cluster remove %s` removes it all the same", server.Name)
		case server.Name == req.Name && !replaced:
			return crony.Errorf(crony.Conflict, "there is a server called %s", req.Name).
				WithHint("give this one another name, or --replace %s if that one is dead", req.Name)
		}
	}
	return nil
}

// signAgent makes a new certificate for an agent that has one.
func (s *Server) signAgent(_ context.Context, agent string, request []byte) ([]byte, error) {
	return s.id.sign(request, pki.Agent, agent)
}

// Issue makes a certificate with its key, for an agent in the same process and for tests.
func (s *Server) Issue(role pki.Role, id string) (*pki.Leaf, error) {
	ca, err := s.id.signer()
	if err != nil {
		return nil, err
	}
	return ca.Issue(pki.Identity{Role: role, ID: id}, nil, s.opts.Now())
}

// Trust returns whom the cluster trusts.
func (s *Server) Trust() *pki.Trust { return s.id.trust }

// notBuried refuses whoever was removed from the cluster, though their certificate is good.
func (s *Server) notBuried(who pki.Identity) error {
	if stone, buried := s.Store.Buried(who.ID); buried {
		return crony.Errorf(crony.Forbidden, "%s was removed from the cluster as %s", who, stone.Name)
	}
	return nil
}
