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

// occupy has runs that the agent started without a claim, and that go on, take their places in their jobs' locks, before they are
// acknowledged: what comes due from then on waits for them, or is given up.
func (s *stream) occupy(ctx context.Context, facts []crony.Fact) error {
	for i := range facts {
		c := facts[i].Claimed
		if c == nil || !c.Unclaimed {
			continue
		}
		run, err := s.hub.opts.Runs.Run(ctx, facts[i].Run)
		switch {
		case crony.CodeOf(err) == crony.NotFound: // it could not be stored
			continue
		case err != nil:
			return err
		case run.State.Ended():
			continue
		}
		place := crony.Lock{Run: run.ID, Agent: s.agent.ID}
		if err := s.hub.opts.State.Occupy(ctx, c.Job, c.JobUID, place); err != nil {
			return err
		}
	}
	return nil
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
		if !known[h.Run] && !h.Expected && !s.moved(h.Run) {
			gone = append(gone, state.Ending{Job: h.Job, Agent: h.Agent, Run: h.Run})
		}
	}
	s.release(s.ctx, gone)
}

// moved says whether a run goes on with another agent, though this server may not see yet that its place has gone with it.
func (s *stream) moved(id crony.RunID) bool {
	run, err := s.hub.opts.Runs.Run(s.ctx, id)
	return err == nil && run.Agent != s.agent.ID && !run.State.Ended()
}
