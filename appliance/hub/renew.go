package hub

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/wire"
)

const (
	renewWait = time.Minute     // between the certificates that an agent asks for on a stream
	signWait  = 5 * time.Second // for one to be signed
)

// renew answers a request for a new certificate. It is for this agent, whatever the request says. Nothing but a request that
// is too large ends the stream: an agent whose certificate can't be renewed yet can go on with its old one.
func (s *stream) renew(ctx context.Context, request []byte) error {
	if n := len(request); n > maxRequest {
		return status.Errorf(codes.InvalidArgument, "a certificate request of %d bytes; at most %d", n, maxRequest)
	}
	answer := &wire.Certificate{}
	chain, err := s.sign(ctx, request)
	if err != nil {
		s.hub.refusals.add(address(ctx), "certificate", err, "agent", s.agent.ID)
		answer.Refused = err.Error()
	} else {
		s.log.Info("certificate renewed")
		answer.Chain = chain
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Certificate{Certificate: answer}})
}

func (s *stream) sign(ctx context.Context, request []byte) ([]byte, error) {
	if s.hub.opts.Sign == nil {
		return nil, errors.New("this server signs no certificates")
	}
	if !s.renewed.IsZero() && time.Since(s.renewed) < renewWait {
		return nil, crony.Errorf(crony.Conflict, "a certificate was asked for less than a minute ago")
	}
	s.renewed = time.Now()
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	return s.hub.opts.Sign(ctx, s.agent.ID, request)
}
