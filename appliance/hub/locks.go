package hub

import (
	"context"
	"fmt"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// lock answers how a run stands with its job's lock, for which it waits.
func (s *stream) lock(ctx context.Context, ask *wire.Lock) error {
	place, refused, err := s.hub.opts.State.Enter(ctx, state.Entrance{Job: ask.GetJob(), Agent: s.agent.ID, Epoch: ask.GetEpoch(),
		Run: crony.RunID(ask.GetRun())})
	if err != nil {
		return fmt.Errorf("enter a lock: %w", err)
	}
	if refused == "" {
		return s.tellPlaces([]state.Held{place})
	}
	return s.sendPlaces([]*wire.Place{{Job: ask.GetJob(), Run: ask.GetRun(), Refused: refused}})
}

// tellPlaces says how runs of the agent stand with their jobs' locks.
func (s *stream) tellPlaces(list []state.Held) error {
	places := make([]*wire.Place, len(list))
	for i, h := range list {
		places[i] = &wire.Place{Job: h.Job, Run: string(h.Run), Behind: string(h.Behind), ReplacedBy: string(h.ReplacedBy)}
	}
	return s.sendPlaces(places)
}

func (s *stream) sendPlaces(places []*wire.Place) error {
	if len(places) == 0 {
		return nil
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Lock{Lock: &wire.LockReply{Places: places}}})
}

// release takes runs that have ended, as is on disk, out of their jobs' locks. If it can't, that is no reason to keep the agent
// from being told that its report is stored: the leader does it later.
func (s *stream) release(ctx context.Context, ended []state.Ending) {
	if err := s.hub.opts.State.Release(ctx, ended); err != nil && ctx.Err() == nil {
		s.log.Warn("locks of runs that have ended stay for now", "err", err)
	}
}

// abandon frees the locks of runs that the agent, which has just said which it answers for, knows nothing of: it has reported
// their end, or died before it could write them down. What may be lost, but is not said to be yet, is left.
func (s *stream) abandon(answered []string) {
	known := make(map[crony.RunID]bool, len(answered))
	for _, id := range answered {
		known[crony.RunID(id)] = true
	}
	for _, run := range s.hub.opts.Runs.Unfinished(s.agent.ID) {
		known[run.ID] = true
	}
	var gone []state.Ending
	for _, h := range s.hub.opts.State.Locks(s.agent.ID) {
		if !known[h.Run] && !h.Expected {
			gone = append(gone, state.Ending{Job: h.Job, Agent: h.Agent, Run: h.Run})
		}
	}
	s.release(s.ctx, gone)
}
