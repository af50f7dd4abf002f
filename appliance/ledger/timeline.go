package ledger

import (
	"fmt"
	"time"

	"crony"
	"crony/embedded/state"
)

// timeline is what should have been of a job: which definition was in force when, and what follows for an occurrence of
// which nothing is recorded. It never changes.
type timeline struct {
	uid     string // of the job; "" if it was removed
	eras    []era
	claim   crony.Claim
	now     time.Time
	waits   string // why what is open is open
	claimed *crony.Run
}

// era is the time in which a definition was in force: after one instant and up to another.
type era struct {
	def         *crony.Definition
	plan        *crony.Plan // nil: the job ran only when told to
	after       time.Time
	until       time.Time // the zero time: it is in force
	unsettled   bool      // the claim was made by another plan than the era's: its cursor says nothing of it
	whoPaused   string    // "" if not paused, or not known
	oneSchedule bool      // counting takes no time
}

func newTimeline(h state.History, now time.Time) *timeline {
	l := &timeline{claim: h.Claim, now: now, waits: waits(&h)}
	if len(h.Definitions) == 0 {
		return l
	}
	l.uid = h.Definitions[len(h.Definitions)-1].UID
	for i := range h.Definitions {
		if def := &h.Definitions[i]; def.UID == l.uid {
			l.eras = append(l.eras, era{def: def, plan: def.Plan(), after: def.UpdatedAt,
				oneSchedule: len(def.Job.Entries()) == 1 && len(def.Calendars) == 0})
		}
	}
	by := l.generation(l.uid, h.Claim.Generation)
	for i := range l.eras {
		e := &l.eras[i]
		if i+1 < len(l.eras) {
			e.until = l.eras[i+1].after
		}
		e.whoPaused = l.whoPaused(i)
		e.unsettled = e.def.Generation > h.Claim.Generation && (by == nil || !by.def.PlanSince.Equal(e.def.PlanSince))
	}
	if c := &l.claim; c.Run != "" {
		l.claimed = &crony.Run{ID: c.Run, Job: l.eras[0].def.Job.Name, JobUID: l.uid, Generation: c.Generation, Agent: c.Agent,
			Trigger: crony.BySchedule, ScheduledAt: c.At, Epoch: c.Epoch, State: crony.Claimed}
	}
	return l
}

// waits says why an occurrence of the definition in force is not decided, though its time has come.
func waits(h *state.History) string {
	var up, down []string
	for _, a := range h.Holders {
		switch {
		case a.Assigned && a.Connected:
			up = append(up, a.Agent)
		case a.Assigned:
			down = append(down, a.Agent)
		}
	}
	switch {
	case h.Waiting != "":
		return h.Waiting
	case len(up) == 1:
		return fmt.Sprintf("its agent %s is about to decide it", up[0])
	case len(up) > 1:
		return fmt.Sprintf("one of its %d agents that are connected is about to decide it", len(up))
	case len(down) == 1:
		return fmt.Sprintf("its agent %s is not connected", down[0])
	case len(down) > 1:
		return fmt.Sprintf("none of its %d agents is connected", len(down))
	}
	return "no agent has it"
}

// whoPaused returns who paused a job that is paused in the i-th era: who made the first of the definitions that have come
// due alike since, if it is kept.
func (l *timeline) whoPaused(i int) string {
	since := l.eras[i].def.PlanSince
	if !l.eras[i].def.Job.Paused {
		return ""
	}
	for i > 0 && l.eras[i-1].def.PlanSince.Equal(since) {
		i--
	}
	if first := l.eras[i].def; first.UpdatedAt.Equal(since) {
		return first.UpdatedBy
	}
	return ""
}

// knownAfter returns the instant after which it is known what should have been; now if it is not known at all.
func (l *timeline) knownAfter() time.Time {
	if len(l.eras) == 0 {
		return l.now
	}
	return l.eras[0].after
}

// at returns the era that an instant lies in, nil if its definition is not kept.
func (l *timeline) at(t time.Time) *era {
	for i := len(l.eras) - 1; i >= 0; i-- {
		if l.eras[i].after.Before(t) {
			return &l.eras[i]
		}
	}
	return nil
}

// generation returns the era of a job's generation, nil if it is not kept.
func (l *timeline) generation(uid string, generation int64) *era {
	for i := range l.eras {
		if d := l.eras[i].def; d.UID == uid && d.Generation == generation {
			return &l.eras[i]
		}
	}
	return nil
}

// instant returns what the schedule of its time says of an instant; false if it does not name it.
func (l *timeline) instant(t time.Time) (crony.Instant, bool) { return l.at(t).instant(t) }

// instant returns what the era's schedule says of an instant; false if it does not name it.
func (e *era) instant(t time.Time) (crony.Instant, bool) {
	if e == nil || e.plan == nil {
		return crony.Instant{}, false
	}
	in, ok := e.plan.Instant(t.Add(-1))
	return in, ok && in.At.Equal(t)
}

// class is what a row of occurrences has in common.
type class struct {
	end    crony.End
	reason string
	cover  *crony.Stretch // which says so; nil if it follows from the definitions
}

// derive returns what follows for an era's occurrence, of which nothing is recorded, and the instant up to which the same
// follows; false if there is nothing to say of it yet.
func (l *timeline) derive(e *era, t time.Time) (c class, until time.Time, ok bool) {
	inForce := e.until.IsZero()
	decided := !t.After(l.claim.At)
	until = l.now
	if decided {
		until = earlier(until, l.claim.At)
	}
	switch {
	case t.After(l.now):
		return class{}, time.Time{}, false
	case decided && !e.unsettled:
		return class{end: crony.EndUnrecorded, reason: "nothing is recorded of it"}, until, true
	case e.def.Job.Paused:
		return class{end: crony.EndSkipped, reason: e.pauseReason()}, until, true
	case !inForce:
		return class{end: crony.EndMissed, reason: "the job was changed before an agent decided it"}, until, true
	case decided:
		return class{end: crony.EndMissed, reason: "the job was changed right before it was due"}, until, true
	}
	return class{end: crony.EndOpen, reason: l.waits}, until, true
}

// pauseReason says by whom and since when the job is paused.
func (e *era) pauseReason() string {
	if e.whoPaused == "" {
		return e.def.PauseReason()
	}
	return e.def.PauseReason() + " by " + e.whoPaused
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
