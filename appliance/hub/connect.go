package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/pki"
	"crony/internal/selector"
	"crony/internal/wire"
)

// Connect implements the service: one agent's stream, from its first message to its end.
func (h *Hub) Connect(link wire.Link_ConnectServer) error {
	ctx := link.Context()
	who, err := identity(ctx)
	if err != nil {
		return err
	}
	log := h.log.With("agent", who.ID)
	s, err := h.admit(link, who, log)
	if err == nil {
		err = s.serve()
	}
	switch {
	case errors.Is(err, errNoQuorum), errors.Is(err, errStopping): // all are: it is logged once
		log.Debug("agent sent away", "err", err)
	case left(err):
		log.Info("agent left")
		return nil
	default:
		h.refusals.add(address(ctx), "stream", err, "agent", who.ID)
	}
	return statusOf(err)
}

// Alive implements the service.
func (h *Hub) Alive(context.Context, *wire.AliveRequest) (*wire.AliveReply, error) {
	return &wire.AliveReply{}, nil
}

// statusOf gives an error the code by which the agent knows what to do.
func statusOf(err error) error {
	switch crony.CodeOf(err) {
	case crony.Unavailable:
		return status.Error(codes.Unavailable, err.Error())
	case crony.Forbidden:
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return err
}

// left says whether a stream ended by the agent's will, or with its connection.
func left(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// admit reads the agent's Hello, ends its stream of before if there is one, and registers it.
func (h *Hub) admit(link wire.Link_ConnectServer, who pki.Identity, log *slog.Logger) (*stream, error) {
	hello, err := h.receiveHello(link)
	if err != nil {
		return nil, err
	}
	if n := len(hello.GetAgent()); n > maxAgent {
		return nil, status.Errorf(codes.InvalidArgument, "the agent says %d bytes of itself; at most %d", n, maxAgent)
	}
	agent, err := wire.Decode[crony.Agent](hello.GetAgent())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	news := h.refresh()
	agent.ID, agent.Server, agent.Since = who.ID, h.opts.Server, h.opts.Now().UTC()
	agent.Authority = news.issuerOf(link.Context())
	if agent.Name == "" {
		agent.Name = agent.ID
	}
	agent.Weight = min(max(agent.Weight, 1), crony.MaxWeight)
	agent.MaxJobs = min(max(agent.MaxJobs, 0), crony.MaxMaxJobs)
	agent.Labels = goodLabels(agent.Labels, log)

	s := newStream(h, link, agent, log)
	if err := h.enter(s); err != nil {
		s.end(err)
		return nil, err
	}
	if err := s.begin(hello.GetRuns()); err != nil {
		s.close(err)
		return nil, context.Cause(s.ctx) // it may have been ended before
	}
	log.Info("agent connected", "name", agent.Name, "version", agent.Version)
	return s, nil
}

// goodLabels leaves out labels that nobody could select, and those that are too many: an agent of before the rule has its jobs
// all the same.
func goodLabels(said map[string]string, log *slog.Logger) map[string]string {
	good := make(map[string]string, len(said))
	for _, key := range slices.Sorted(maps.Keys(said)) {
		err := selector.ValidLabel(key, said[key])
		if err == nil && len(good) == crony.MaxLabels {
			err = fmt.Errorf("more than %d labels", crony.MaxLabels)
		}
		if err != nil {
			log.Warn("label of an agent left out", "err", err)
			continue
		}
		good[key] = said[key]
	}
	if len(good) == 0 {
		return nil
	}
	return good
}

// receiveHello waits for the first message, but not for ever.
func (h *Hub) receiveHello(link wire.Link_ConnectServer) (*wire.Hello, error) {
	type result struct {
		msg *wire.FromAgent
		err error
	}
	got := make(chan result, 1)
	go func() {
		msg, err := link.Recv() // ends with the stream, at the latest
		got <- result{msg, err}
	}()
	timer := time.NewTimer(h.patience)
	defer timer.Stop()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, r.err
		}
		if hello := r.msg.GetHello(); hello != nil {
			return hello, nil
		}
		return nil, status.Error(codes.InvalidArgument, "the first message must be a hello")
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no hello within %s", h.patience)
	}
}

var errReplaced = status.Error(codes.Aborted, "the agent connected again")

// enter makes s the stream of its agent. A stream of before is ended, and waited for: what it still reported is stored when
// the new one begins. Then the agent is looked at once more, as whoever ends streams of agents that may not stay has not seen
// this one before.
func (h *Hub) enter(s *stream) error {
	for {
		h.mu.Lock()
		before := h.streams[s.agent.ID]
		if before == nil {
			h.streams[s.agent.ID] = s
			h.leaving.Add(1)
			h.mu.Unlock()
			break
		}
		h.mu.Unlock()
		before.end(errReplaced)
		select {
		case <-before.done:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	if err := h.mayStay(s.agent.ID); err != nil {
		s.close(err)
		return err
	}
	return nil
}

// leave takes away what is left of a stream that has ended. It waits for nothing that the agent could hold up, but for the
// store. A server that stops leaves its agents' records to the end of its lease: they are about to be written by others.
func (h *Hub) leave(s *stream) {
	defer h.leaving.Done()
	s.work.Wait()
	if s.presence != nil && !h.stopping.Load() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*time.Second)
		s.presence.Leave(ctx)
		if err := h.opts.State.LeaveProcs(ctx, s.presence, s.agent.ID); err != nil {
			s.log.Warn("processes of an agent that left are still listed", "err", err)
		}
		cancel()
	}
	h.mu.Lock()
	delete(h.streams, s.agent.ID)
	h.mu.Unlock()
	close(s.done)
}
