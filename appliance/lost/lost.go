// Package lost ends the runs of which nobody will say more: those of agents that are gone. It is the leader's work.
//
// The one thing to know: LOST is a verdict and no fact. It says that for now nothing more is expected; an agent that comes back
// and reports what it has in its journal outweighs it. So it may be given early, and need not be given at once.
//
// It ends the runs of an agent that has been down for a while, those of one that was removed, also if they come to the run log
// only later, and what such an agent has claimed and never reported. What an agent that came back knows nothing of is
// settled when it connects, and not here.
//
// A run that waits for whom it has called is no agent's work, and not lost with it: it ends by its answer, or when its time is
// up. Its agent sees to that as long as it has the run; if it does not, this does.
package lost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// Fleet is what the keyspace says of agents, and of what they have claimed. It is safe for concurrent use.
type Fleet interface {
	// Up says whether an agent is connected, to whichever server.
	Up(agent string) bool
	// Buried returns the tombstone of what was removed from the cluster, and whether there is one.
	Buried(id string) (crony.Tombstone, bool)
	// OwedByAbsent returns what agents that are not connected have claimed last.
	OwedByAbsent() []state.Owed
	// Waive gives up waiting for reports of what was claimed.
	Waive(ctx context.Context, term state.Term, list []state.Owed) error
	// Verdict returns the fact that ends a run of which its agent will say no more, if it is time for that.
	Verdict(r *crony.Run, why string, now time.Time) (verdict crony.Fact, due bool)
	// Rerun orders that a run takes the place of one that is lost, if its job says so. With a time to wait, it is not to be
	// put on record before that it is lost.
	Rerun(ctx context.Context, runs state.RunLog, l state.Loss) (wait time.Duration, err error)
}

// RunLog is where runs are. It is safe for concurrent use.
type RunLog interface {
	// Append stores facts, and returns once they are on the disks of most servers.
	Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer: what is not known here may
	// not be taken for what is not.
	Refresh(ctx context.Context, runs ...crony.RunID) error
	// Unfinished returns the runs of an agent that have not ended.
	Unfinished(agent string) []crony.Run
	// Busy returns the agents that have such runs.
	Busy() []string
}

// Options are what the duty needs. All are required.
type Options struct {
	Fleet Fleet
	Runs  RunLog
	Term  state.Term
	Log   *slog.Logger
	Now   func() time.Time // the wall clock
}

const (
	downTime   = 30 * time.Second // without a connection, before an agent's runs are lost
	buriedTime = 5 * time.Second  // for the last reports of one that was removed to be stored
	heedTime   = 30 * time.Second // for an agent that is connected to end a run that was answered, or is over its time
	lookTick   = time.Second
	askTick    = 10 * time.Second // how often what was claimed and not reported is looked at, and what failed is tried again
	inWrite    = 500              // verdicts
)

// Run ends runs until ctx, the scope of a leader's term, is done. Each leader counts for itself how long an agent has been
// away: a new one may take longer, and never less.
func Run(ctx context.Context, o Options) error {
	if o.Fleet == nil || o.Runs == nil || o.Log == nil || o.Now == nil {
		return errors.New("end lost runs: an option is missing")
	}
	d := &duty{Options: o, log: o.Log.With("part", "lost"), away: map[string]time.Time{}, reported: map[crony.RunID]bool{}}
	look := time.NewTicker(lookTick)
	defer look.Stop()
	var asked, failed time.Time // monotonic
	for {
		select {
		case now := <-look.C:
			owed := now.Sub(asked) >= askTick
			if now.Sub(failed) < askTick {
				continue
			}
			if err := d.look(ctx, now, owed); err != nil && ctx.Err() == nil {
				failed = now
				d.log.Warn("runs of agents that are gone are not ended yet", "err", err)
			}
			if owed {
				asked = now
			}
		case <-ctx.Done():
			return nil // the term is over; nothing went wrong
		}
	}
}

// duty is one term's.
type duty struct {
	Options
	log      *slog.Logger
	away     map[string]time.Time // agents, since when they are seen not to be connected; monotonic
	reported map[crony.RunID]bool // runs that were claimed by such an agent, and are in the run log
}

// look ends what is to be ended now.
func (d *duty) look(ctx context.Context, now time.Time, withOwed bool) error {
	busy := d.Runs.Busy()
	var owed []state.Owed
	if withOwed {
		owed = d.Fleet.OwedByAbsent()
	}
	d.watch(now, busy, owed, withOwed)
	var errs []error
	for _, agent := range busy {
		switch {
		case d.gone(agent, now):
			errs = append(errs, d.end(ctx, agent))
		case withOwed && d.Fleet.Up(agent):
			errs = append(errs, d.endUnheeded(ctx, agent))
		}
	}
	if withOwed {
		errs = append(errs, d.waive(ctx, now, owed))
	}
	return errors.Join(errs...)
}

// watch notes who is away. Who has nothing more to be ended is forgotten, once all that could be is known.
func (d *duty) watch(now time.Time, busy []string, owed []state.Owed, all bool) {
	seen := map[string]bool{}
	for _, agent := range busy {
		seen[agent] = true
	}
	for i := range owed {
		seen[owed[i].Agent] = true
	}
	for agent := range seen {
		if _, known := d.away[agent]; !known && !d.Fleet.Up(agent) {
			d.away[agent] = now
		}
	}
	for agent := range d.away {
		if d.Fleet.Up(agent) || all && !seen[agent] {
			delete(d.away, agent)
		}
	}
}

// gone says whether an agent has been away for so long that nothing more is expected of it.
func (d *duty) gone(agent string, now time.Time) bool {
	since, away := d.away[agent]
	if !away {
		return false
	}
	_, buried := d.Fleet.Buried(agent)
	return now.Sub(since) >= downTime || buried && now.Sub(since) >= buriedTime
}

// end gives the verdict on an agent's runs.
func (d *duty) end(ctx context.Context, agent string) error {
	why := fmt.Sprintf("its agent is gone: it was not connected for %s, and has not reported how it ended", downTime)
	if _, buried := d.Fleet.Buried(agent); buried {
		why = "its agent was removed from the cluster"
	}
	facts, err := d.verdicts(ctx, agent, func(r *crony.Run) (crony.Fact, bool) { return d.Fleet.Verdict(r, why, d.Now()) })
	if err != nil || len(facts) == 0 || d.Fleet.Up(agent) { // it came back meanwhile, and speaks for itself
		return err
	}
	d.log.Warn("runs ended without their agent, which is gone", "agent", agent, "runs", len(facts))
	return d.append(ctx, agent, facts)
}

// endUnheeded ends runs whose agent is there, and does not end them: it has forgotten them, with its disk.
func (d *duty) endUnheeded(ctx context.Context, agent string) error {
	facts, err := d.verdicts(ctx, agent, func(r *crony.Run) (crony.Fact, bool) {
		verdict, due := d.Fleet.Verdict(r, "", d.Now().Add(-heedTime))
		return verdict, due && r.Called()
	})
	if err != nil || len(facts) == 0 {
		return err
	}
	d.log.Warn("runs that were waiting ended without their agent, which says nothing of them", "agent", agent, "runs", len(facts))
	return d.append(ctx, agent, facts)
}

// verdicts returns those on an agent's runs, after most servers were asked how they ended.
func (d *duty) verdicts(ctx context.Context, agent string, judge func(*crony.Run) (crony.Fact, bool)) ([]crony.Fact, error) {
	asked := map[crony.RunID]bool{}
	var ids []crony.RunID
	for _, run := range d.Runs.Unfinished(agent) {
		if _, due := judge(&run); due { // others may wait for hours, and are not asked for as long
			asked[run.ID] = true
			ids = append(ids, run.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if err := d.Runs.Refresh(ctx, ids...); err != nil {
		return nil, fmt.Errorf("ask the other servers for the runs of the agent %s: %w", agent, err)
	}
	var facts []crony.Fact
	for _, run := range d.Runs.Unfinished(agent) {
		verdict, due := judge(&run)
		if !due || !asked[run.ID] {
			continue
		}
		if verdict.Ended.State == crony.Lost {
			wait, err := d.rerun(ctx, &run)
			if err != nil {
				return nil, err
			}
			if wait > 0 {
				continue
			}
		}
		facts = append(facts, verdict)
	}
	return facts, nil
}

func (d *duty) append(ctx context.Context, agent string, facts []crony.Fact) error {
	for batch := range slices.Chunk(facts, inWrite) {
		if err := d.Runs.Append(ctx, batch, nil); err != nil {
			return fmt.Errorf("end the runs of the agent %s: %w", agent, err)
		}
	}
	return nil
}

// rerun has another run take the place of one that is lost, if its job says so, and returns how long the verdict has to wait.
func (d *duty) rerun(ctx context.Context, run *crony.Run) (time.Duration, error) {
	loss, ok := state.LossOf(run)
	if !ok || d.Fleet.Up(run.Agent) {
		return 0, nil
	}
	return d.Fleet.Rerun(ctx, d.Runs, loss)
}

// waive gives up what agents that are gone have claimed and not reported. The record that this leaves waits for the report
// still, and is held against what all servers know; so to look here is enough.
func (d *duty) waive(ctx context.Context, now time.Time, owed []state.Owed) error {
	var list []state.Owed
	reported := map[crony.RunID]bool{}
	for _, o := range owed {
		if !d.gone(o.Agent, now) {
			continue
		}
		if !d.reported[o.Run] {
			switch _, err := d.Runs.Run(ctx, o.Run); {
			case crony.CodeOf(err) == crony.NotFound:
				list = append(list, o)
				continue
			case err != nil:
				return fmt.Errorf("look up the run %s: %w", o.Run, err)
			}
		}
		reported[o.Run] = true
	}
	d.reported = reported
	if len(list) == 0 {
		return nil
	}
	if err := d.Fleet.Waive(ctx, d.Term, list); err != nil {
		return fmt.Errorf("give up what agents that are gone have claimed: %w", err)
	}
	d.log.Warn("what agents that are gone have claimed and not reported is given up", "runs", len(list))
	return nil
}
