// Package peers is what servers ask of each other beside the store's own traffic: to be admitted as a member, how they are,
// to do to their own store what only they can do, and to take and to give records of the run log.
//
// The one thing to know: the caller is whom its certificate names, and the hub has looked at it before a call comes here: a
// server of this cluster that was not removed. So a call needs no more rights than to come in.
//
// It decides nothing: who joins is decided by whoever made the join token, and what is to be done when by the leader.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/member"
	"crony/internal/wire"
)

// Member is the server's own part of the store. Its methods are safe for concurrent use.
type Member interface {
	Members(ctx context.Context) ([]member.Info, error)
	Add(ctx context.Context, address string) error
	Transfer(ctx context.Context, to uint64) error
	Defragment() error
	Leading() bool
	Token() string
}

// Options is what a Service is made of; all are required.
type Options struct {
	Self   string // the server's id
	Member Member
	Status func() crony.ServerStatus
	RunLog RunLog
	Caller func(ctx context.Context) (string, error) // the id of the server that calls
	Log    *slog.Logger
}

// Service answers the other servers.
type Service struct {
	wire.UnimplementedPeersServer

	opts     Options
	log      *slog.Logger
	admitted sync.Mutex // one at a time: two that look at the same members would both add
}

// New returns the service.
func New(opts Options) (*Service, error) {
	if opts.Self == "" || opts.Member == nil || opts.Status == nil || opts.RunLog == nil || opts.Caller == nil || opts.Log == nil {
		return nil, errors.New("peers: an option is missing")
	}
	return &Service{opts: opts, log: opts.Log.With("part", "peers")}, nil
}

// Admit implements wire.PeersServer.
func (s *Service) Admit(ctx context.Context, req *wire.AdmitRequest) (*wire.AdmitReply, error) {
	caller, err := s.opts.Caller(ctx)
	if err != nil {
		return nil, err
	}
	s.admitted.Lock()
	defer s.admitted.Unlock()
	members, err := s.admit(ctx, caller, req.GetAddress())
	if err != nil {
		s.log.Warn("server not admitted", "server", caller, "address", req.GetAddress(), "err", err)
		return nil, refusal(err)
	}
	reply := &wire.AdmitReply{Token: s.opts.Member.Token()}
	for _, m := range members {
		reply.Members = append(reply.Members, &wire.Member{Server: m.Server, Address: m.Address})
	}
	return reply, nil
}

// admit adds the caller, unless it is there: a reply may have been lost. A member that has not started has no name yet, and is
// told by its address.
func (s *Service) admit(ctx context.Context, caller, address string) ([]member.Info, error) {
	members, err := s.opts.Member.Members(ctx)
	if err != nil {
		return nil, err
	}
	for i := range members {
		m := &members[i]
		switch {
		case m.Server == caller && m.Address == address:
			return members, nil
		case m.Server == caller:
			return nil, crony.Errorf(crony.Conflict, "%s is a member at %s, and not at %s", caller, m.Address, address).
				WithHint("give it the address that it had, or remove it and join again")
		case m.Address == address && m.Server == "":
			m.Server = caller
			return members, nil
		case m.Address == address:
			return nil, crony.Errorf(crony.Conflict, "%s is the address of another server, %s", address, m.Server).
				WithHint("remove that one first (`crony cluster remove`), or advertise another address")
		}
	}
	s.log.Info("server is admitted", "server", caller, "address", address)
	if err := s.opts.Member.Add(ctx, address); err != nil {
		return nil, err
	}
	if members, err = s.opts.Member.Members(ctx); err != nil {
		return nil, err
	}
	for i := range members {
		if members[i].Address == address {
			members[i].Server = caller
			return members, nil
		}
	}
	return nil, crony.Errorf(crony.Unavailable, "the new member is not seen yet").WithHint("try again")
}

// Status implements wire.PeersServer.
func (s *Service) Status(context.Context, *wire.StatusRequest) (*wire.StatusReply, error) {
	return &wire.StatusReply{Status: wire.Encode(s.opts.Status())}, nil
}

// Defragment implements wire.PeersServer.
func (s *Service) Defragment(context.Context, *wire.DefragmentRequest) (*wire.DefragmentReply, error) {
	if err := s.opts.Member.Defragment(); err != nil {
		return nil, refusal(err)
	}
	return &wire.DefragmentReply{}, nil
}

// Transfer implements wire.PeersServer.
func (s *Service) Transfer(ctx context.Context, req *wire.TransferRequest) (*wire.TransferReply, error) {
	if err := s.transfer(ctx, req.GetServer()); err != nil {
		return nil, refusal(err)
	}
	return &wire.TransferReply{}, nil
}

func (s *Service) transfer(ctx context.Context, to string) error {
	if !s.opts.Member.Leading() {
		return crony.Errorf(crony.Conflict, "this server does not lead any more").WithHint("try again")
	}
	members, err := s.opts.Member.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Learner || m.Server == s.opts.Self || to != "" && m.Server != to {
			continue
		}
		if err := s.opts.Member.Transfer(ctx, m.ID); err != nil && to != "" {
			return err
		} else if err == nil {
			return nil
		}
	}
	return crony.Errorf(crony.Conflict, "there is no server that could lead instead")
}

// refusal says an error of crony's in the transport's terms; message and hint go with it.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Internal
	switch crony.CodeOf(err) {
	case crony.Conflict:
		code = codes.FailedPrecondition
	case crony.Unavailable:
		code = codes.Unavailable
	case crony.NotFound:
		code = codes.NotFound
	case crony.Invalid:
		code = codes.InvalidArgument
	}
	text := err.Error()
	var e *crony.Error
	if errors.As(err, &e) && e.Hint != "" {
		text = fmt.Sprintf("%s (%s)", e.Message, e.Hint)
	}
	return status.Error(code, text)
}
