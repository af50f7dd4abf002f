package hub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// How long a report waits before it is tried again when the run log could not take it, and how long in all before the agent
// is to look for a server that can.
const (
	storeAgain    = time.Second
	storePatience = 30 * time.Second
)

// store puts a report on the disks of most servers, and acknowledges it when it is there.
func (s *stream) store(ctx context.Context, report *wire.Report) error {
	r, err := s.accept(ctx, report)
	if err != nil {
		return err
	}
	if err := s.rerun(ctx, r.lost); err != nil {
		return err
	}
	if err := s.appendPatiently(ctx, r); err != nil {
		return fmt.Errorf("store a report: %w", err)
	}
	if err := s.occupy(ctx, r.facts); err != nil {
		return fmt.Errorf("have runs that were started without a claim take their places: %w", err)
	}
	s.release(ctx, r.ended)
	for i := range r.facts { // an order is taken with its run's first fact, should the agent's word of it be lost
		if c := r.facts[i].Claimed; c != nil && c.Ordered() {
			if err := s.ordered.reported(ctx, r.facts[i].Run); err != nil {
				return err
			}
			if err := s.taken(ctx, c.Job, r.facts[i].Run); err != nil {
				return err
			}
		}
	}
	if err := s.goesOn(ctx, &r); err != nil {
		return err
	}
	if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Ack{Ack: &wire.Ack{Id: report.GetId()}}}); err != nil {
		return err
	}
	return s.attend(ctx, r.facts)
}

// appendPatiently stores records as soon as the run log takes them. While it does not, for want of room or of other servers,
// the agent's reports wait and nothing else: to end the stream would be to keep the agent from claiming what it is to run.
func (s *stream) appendPatiently(ctx context.Context, r records) error {
	patience := time.After(storePatience)
	for waiting := false; ; waiting = true {
		err := s.append(ctx, r)
		if crony.CodeOf(err) != crony.Unavailable {
			return err
		}
		if !waiting {
			s.log.Warn("the agent's reports have to wait", "err", err)
		}
		select {
		case <-time.After(storeAgain):
		case <-patience:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// records are what a report holds.
type records struct {
	facts  []crony.Fact
	chunks []crony.Chunk
	ended  []state.Ending       // the runs whose end is among the facts
	lost   []state.Loss         // those of them that are lost, and in whose place another may be
	moved  map[crony.RunID]bool // runs that go on with the agent, and that others had before
}

func (r *records) len() int { return len(r.facts) + len(r.chunks) }

// halves cuts records of two or more in two. Facts come first, so that a run is known before its output.
func (r *records) halves() []records {
	f, c := len(r.facts), len(r.chunks)
	switch {
	case f > 0 && c > 0:
		return []records{{facts: r.facts}, {chunks: r.chunks}}
	case f > 0:
		return []records{{facts: r.facts[:f/2]}, {facts: r.facts[f/2:]}}
	}
	return []records{{chunks: r.chunks[:c/2]}, {chunks: r.chunks[c/2:]}}
}

// append stores what can be stored. What never can be is logged and dropped: the agent could only send it again, for ever,
// and all that comes after it would wait.
func (s *stream) append(ctx context.Context, r records) error {
	err := s.hub.opts.Runs.Append(ctx, r.facts, r.chunks)
	switch crony.CodeOf(err) {
	case "":
	case crony.Conflict: // all but what is in conflict is stored
		s.log.Error("reported fact dropped: another is stored under its number", "err", err)
	case crony.Invalid: // nothing is stored
		if r.len() > 1 {
			for _, half := range r.halves() {
				if err := s.append(ctx, half); err != nil {
					return err
				}
			}
			return nil
		}
		s.log.Error("reported record dropped: it can't be right", "err", err)
		return nil
	default:
		return err
	}
	s.hub.metrics.stored(r.facts)
	return nil
}

// accept reads a report and checks that everything in it is of this agent's runs. A run's first fact names its agent, and
// comes first.
func (s *stream) accept(ctx context.Context, report *wire.Report) (records, error) {
	r := records{moved: map[crony.RunID]bool{}}
	facts := make([]crony.Fact, len(report.GetFacts()))
	for i, data := range report.GetFacts() {
		var err error
		if facts[i], err = wire.Decode[crony.Fact](data); err != nil {
			return r, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	runs := owners{stream: s, own: map[crony.RunID]bool{}, known: map[crony.RunID]crony.Run{}}
	if err := runs.ask(ctx, facts, report.GetChunks()); err != nil {
		return r, err
	}
	for i := range facts {
		own, err := runs.ownsFact(ctx, &facts[i])
		if err != nil {
			return r, err
		}
		if !own {
			continue
		}
		run := runs.known[facts[i].Run]
		if run.Agent != s.agent.ID && facts[i].Ended != nil {
			s.log.Error("report of a run's end dropped: the run has gone on with another agent", "run", run.ID, "other", run.Agent)
			continue
		}
		if r.facts = append(r.facts, facts[i]); run.Agent == s.agent.ID && len(run.Former) > 0 {
			r.moved[run.ID] = true
		}
		if end := facts[i].Ended; end != nil {
			r.ended = append(r.ended, state.Ending{Job: run.Job, Agent: s.agent.ID, Run: facts[i].Run})
			if loss, ok := state.LossOf(&run); ok && end.State == crony.Lost {
				r.lost = append(r.lost, loss)
			}
		}
	}
	for _, c := range report.GetChunks() {
		own, err := runs.owns(ctx, crony.RunID(c.GetRun()))
		if err != nil {
			return r, err
		}
		if own {
			r.chunks = append(r.chunks, c.Domain())
		}
	}
	return r, nil
}

// owners tells whose runs are. It asks the run log once for each.
type owners struct {
	*stream
	own   map[crony.RunID]bool // false: nobody's
	known map[crony.RunID]crony.Run
}

// ask asks the other servers for all runs that this one does not know, and that should be known: what is said of a run is
// dropped only if nobody knows it.
func (o *owners) ask(ctx context.Context, facts []crony.Fact, chunks []*wire.Chunk) error {
	seen := map[crony.RunID]bool{}
	var unknown []crony.RunID
	look := func(id crony.RunID) error {
		if seen[id] {
			return nil
		}
		seen[id] = true
		own, err := o.look(ctx, id)
		if own {
			o.own[id] = true
		} else if err == nil {
			unknown = append(unknown, id)
		}
		return err
	}
	for i := range facts {
		if facts[i].Claimed != nil {
			seen[facts[i].Run] = true
		} else if err := look(facts[i].Run); err != nil {
			return err
		}
	}
	for _, c := range chunks {
		if err := look(crony.RunID(c.GetRun())); err != nil {
			return err
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := o.hub.opts.Runs.Refresh(ctx, unknown...); err != nil {
		return fmt.Errorf("ask the other servers for runs that are not known here: %w", err)
	}
	return nil
}

func (o *owners) ownsFact(ctx context.Context, f *crony.Fact) (bool, error) {
	switch {
	case f.Seq >= crony.CalleeSeq, f.Moved != nil:
		return false, status.Errorf(codes.PermissionDenied,
			"the run %.40q: an agent gives no verdicts, and speaks for nobody else", f.Run)
	case f.Claimed == nil:
		return o.owns(ctx, f.Run)
	case f.Claimed.Agent != o.agent.ID:
		return false, status.Errorf(codes.PermissionDenied, "the run %.40q is claimed in the name of another agent", f.Run)
	case o.own[f.Run]:
		return true, nil
	}
	known, err := o.look(ctx, f.Run)
	if err != nil {
		return false, err
	}
	if !known {
		if !f.Claimed.Names(f.Run) {
			return false, status.Errorf(codes.PermissionDenied, "the run %.40q is not of what it says that it is a run of", f.Run)
		}
		if f.Claimed.ScheduledAt.After(o.hub.opts.Now().Add(mostAhead)) { // what else it reports of it is dropped as well
			o.log.Error("report of a run dropped: it is not due yet, by far", "run", f.Run, "due", f.Claimed.ScheduledAt)
			return false, nil
		}
		o.known[f.Run], _ = crony.Fold([]crony.Fact{*f})
	}
	o.own[f.Run] = true
	return true, nil
}

// mostAhead is how long before it is due a run may be reported. The clocks of agents differ from the servers' by less, or they
// could claim nothing.
const mostAhead = time.Minute

// owns says whether a run is this agent's. It is not if nobody knows the run: its first fact was dropped, or its day is gone
// from the run log. What is said of such a run can't be stored, and must not be in the way of the rest.
func (o *owners) owns(ctx context.Context, id crony.RunID) (bool, error) {
	if own, ok := o.own[id]; ok {
		return own, nil
	}
	own, err := o.look(ctx, id)
	if err != nil {
		return false, err
	}
	if !own {
		o.log.Error("report of an unknown run dropped", "run", fmt.Sprintf("%.40s", id))
	}
	o.own[id] = own
	return own, nil
}

// look reports whether the run is known; the error says that it is another agent's, and always was. That it has moved may be
// known to other servers only.
func (o *owners) look(ctx context.Context, id crony.RunID) (bool, error) {
	run, err := o.hub.opts.Runs.Run(ctx, id)
	if err == nil && !o.had(&run) {
		if err := o.hub.opts.Runs.Refresh(ctx, id); err != nil {
			return false, fmt.Errorf("ask the other servers for the run %s: %w", id, err)
		}
		run, err = o.hub.opts.Runs.Run(ctx, id)
	}
	switch {
	case crony.CodeOf(err) == crony.NotFound, crony.CodeOf(err) == crony.Invalid:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up the run %s: %w", id, err)
	case !o.had(&run):
		return false, status.Errorf(codes.PermissionDenied, "the run %s is another agent's", id)
	}
	o.known[id] = run
	return true, nil
}

// had says whether the agent has a run, or had it.
func (o *owners) had(r *crony.Run) bool {
	return r.Agent == o.agent.ID || slices.Contains(r.Former, o.agent.ID)
}
