package hub

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// maxAlone is how many runs an agent may ask about at once.
const maxAlone = 1024

// judge says what runs are that the agent started while it was cut off, by assignments that it has no more. The occurrence's run
// is the agent's if it is proven that there is no other; it is another's if that is known; and else it is not said yet.
func (s *stream) judge(ctx context.Context, msg *wire.Alone) error {
	if n := len(msg.GetRuns()); n > maxAlone {
		return status.Errorf(codes.InvalidArgument, "%d runs in a message; at most %d", n, maxAlone)
	}
	list := make([]state.Unclaimed, len(msg.GetRuns()))
	for i, r := range msg.GetRuns() {
		if !crony.IsName(r.GetJob()) || !isUID(r.GetUid()) {
			return status.Errorf(codes.InvalidArgument, "%.40q, of the uid %.40q, is no job", r.GetJob(), r.GetUid())
		}
		list[i] = state.Unclaimed{Agent: s.agent.ID, Run: crony.RunID(r.GetRun()), Job: r.GetJob(), UID: r.GetUid(),
			Generation: r.GetGeneration(), At: wire.Time(r.GetAt())}
	}
	fates, err := s.fates(ctx, list)
	if err != nil {
		return fmt.Errorf("find out what became of occurrences: %w", err)
	}
	reply := &wire.Fates{}
	for i, fate := range fates {
		run := string(list[i].Run)
		switch fate {
		case state.FateOwn:
			reply.Stand = append(reply.Stand, run)
		case state.FateOthers:
			reply.Double = append(reply.Double, run)
		default:
			reply.Open = append(reply.Open, run)
		}
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Fates{Fates: reply}})
}

// isUID says whether a text may be a job's uid. It becomes part of a key.
func isUID(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// fates returns whose the occurrences' runs are, or that it is open.
func (s *stream) fates(ctx context.Context, list []state.Unclaimed) ([]state.Fate, error) {
	fates, err := s.hub.opts.State.Fates(ctx, list)
	if err != nil {
		return nil, err
	}
	var passed []int
	for i := range list {
		if fates[i] == state.FateOpen {
			if fates[i], err = s.recorded(ctx, &list[i]); err != nil {
				return nil, err
			}
		}
		if fates[i] == state.FatePassed {
			passed = append(passed, i)
		}
	}
	if len(passed) == 0 {
		return fates, nil
	}
	return fates, s.adopt(ctx, list, passed, fates)
}

// recorded returns what the run log proves of an occurrence.
func (s *stream) recorded(ctx context.Context, u *state.Unclaimed) (state.Fate, error) {
	run, err := s.hub.opts.Runs.Run(ctx, u.Run)
	switch {
	case err == nil:
		return s.whose(run.FirstAgent()), nil
	case crony.CodeOf(err) != crony.NotFound:
		return state.FateOpen, fmt.Errorf("look up the run %s: %w", u.Run, err)
	}
	stretches, _, err := s.hub.opts.Runs.Stretches(ctx, u.Job, u.At, u.At, crony.MaxLimit)
	if err != nil {
		return state.FateOpen, err
	}
	fate := state.FateOpen
	for i := range stretches {
		switch r := &stretches[i]; {
		case r.JobUID != u.UID || r.Of != "":
		case r.End == crony.EndLost: // it was claimed, or started without a claim
			return s.whose(r.Agent), nil
		default:
			fate = state.FatePassed
		}
	}
	return fate, nil
}

func (s *stream) whose(agent string) state.Fate {
	if agent == s.agent.ID {
		return state.FateOwn
	}
	return state.FateOthers
}

// adopt makes occurrences that were passed over the agent's. Another that was cut off may have come before it, with a run of the
// same occurrence; if that is reported by now, most servers know of it.
func (s *stream) adopt(ctx context.Context, list []state.Unclaimed, passed []int, fates []state.Fate) error {
	adopting, ids := make([]state.Unclaimed, len(passed)), make([]crony.RunID, len(passed))
	for n, i := range passed {
		adopting[n], ids[n] = list[i], list[i].Run
	}
	own, err := s.hub.opts.State.Adopt(ctx, adopting)
	if err != nil {
		return err
	}
	if err := s.hub.opts.Runs.Refresh(ctx, ids...); err != nil {
		return fmt.Errorf("ask the other servers for runs that are not known here: %w", err)
	}
	for n, i := range passed {
		fates[i] = state.FateOthers
		run, err := s.hub.opts.Runs.Run(ctx, list[i].Run)
		switch {
		case err == nil:
			fates[i] = s.whose(run.FirstAgent())
		case crony.CodeOf(err) != crony.NotFound:
			return fmt.Errorf("look up the run %s: %w", list[i].Run, err)
		case own[n]:
			fates[i] = state.FateOwn
		}
	}
	return nil
}
