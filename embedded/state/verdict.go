package state

import (
	"time"

	"crony"
)

// Verdict returns the fact with which a server ends a run that has not ended and that its agent will say no more of, for the
// reason why: as a rule it is lost. There is none yet of a run that waits, and may still be answered. One that waits for whom
// it has called ends as its answer says, as killed if that was ordered first, and else when it is not waited for any longer.
// What was ordered or answered after now is not seen.
//
// It is what every server comes to, whoever gives it, and decides nothing alone: what other servers know of the run is to be
// asked for before, and a run that is lost may have to run again ([LossOf]) before that is on record.
func (s *Store) Verdict(r *crony.Run, why string, now time.Time) (verdict crony.Fact, due bool) {
	if s.mirror.comes(r.ID) { // to another agent, which speaks for it from then on
		return crony.Fact{}, false
	}
	p := s.mirror.proc(r.Agent, r.Job, r.ID)
	return p.Verdict(r, why, now)
}

// Verdict is [Store.Verdict] by what is known of the run's process.
func (p *Proc) Verdict(r *crony.Run, why string, now time.Time) (verdict crony.Fact, due bool) {
	answered := p.Answer != nil && !p.Answer.At.After(now) && len(r.Attempts) > 0 &&
		p.Answer.Attempt == r.Attempts[len(r.Attempts)-1].Number
	killed := p.Kill != nil && !p.Kill.At.After(now) && r.Called() && !(answered && p.Answer.At.Before(p.Kill.At))
	end := crony.EndedFact{State: crony.Lost, Reason: why}
	switch {
	case killed:
		end = crony.EndedFact{State: crony.Killed, Reason: p.Kill.Words()}
	case answered:
		end = crony.EndedFact{State: p.Answer.State, Reason: p.Answer.Reason}
	case r.State == crony.Waiting && now.Before(r.Until):
		return crony.Fact{}, false
	case r.Called():
		end = crony.EndedFact{State: crony.TimedOut, Reason: "there was no answer by " + r.Until.UTC().Format(time.RFC3339)}
	}
	return crony.Fact{Run: r.ID, Seq: crony.VerdictSeq, At: now.UTC(), Ended: &end}, true
}
