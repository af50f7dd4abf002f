package hub

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

// TestOfItsOccurrence has runs reported that this server does not know yet. Their ids must be those of what they say that they
// are runs of; what is not due by far is dropped, whatever else is said of it.
func TestOfItsOccurrence(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Second)
	ordinary, own := crony.OccurrenceRunID("u", at, ""), crony.OccurrenceRunID("u", at, "a1")
	far := at.Add(time.Hour)
	for name, c := range map[string]struct {
		id      crony.RunID
		due     time.Time
		doubles crony.RunID
		rerunOf crony.RunID
		refused bool
		stored  bool
	}{
		"the occurrence's":              {id: ordinary, due: at, stored: true},
		"the agent's own":               {id: own, due: at, stored: true},
		"another agent's own":           {id: crony.OccurrenceRunID("u", at, "a2"), due: at, refused: true},
		"of another time":               {id: ordinary, due: at.Add(time.Second), refused: true},
		"any":                           {id: newRun(), due: at, refused: true},
		"a double":                      {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: ordinary, stored: true},
		"a double of the agent's own":   {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: own, stored: true},
		"a double of nothing":           {id: crony.DoubleRunID("u", at, "a1"), due: at, refused: true},
		"a double of something else":    {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: newRun(), refused: true},
		"another agent's double":        {id: crony.DoubleRunID("u", at, "a2"), due: at, doubles: ordinary, refused: true},
		"a double under an ordinary id": {id: ordinary, due: at, doubles: ordinary, refused: true},
		"more than a minute ahead":      {id: crony.OccurrenceRunID("u", far, ""), due: far},
		"a double that is as far ahead": {id: crony.DoubleRunID("u", far, "a1"), due: far, doubles: crony.OccurrenceRunID("u", far, "")},
		"in the place of a lost one":    {id: crony.RerunID("u", at, ""), due: at, rerunOf: ordinary, stored: true},
		"in the place of the agent's":   {id: crony.RerunID("u", at, "a1"), due: at, rerunOf: own, stored: true},
		"in the place of none":          {id: crony.RerunID("u", at, ""), due: at, refused: true},
		"in the place of another's":     {id: crony.RerunID("u", at, "a2"), due: at, rerunOf: own, refused: true},
		"a second one under its own id": {id: ordinary, due: at, rerunOf: ordinary, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.connect("a1")
			facts := life("a1", c.id)
			claimed := facts[0].Claimed
			claimed.Trigger, claimed.ScheduledAt, claimed.Doubles, claimed.Unclaimed = crony.BySchedule, c.due, c.doubles, c.doubles != ""
			claimed.RerunOf = c.rerunOf
			if c.refused {
				p.send(report(1, facts))
				p.refused(codes.PermissionDenied, "is not of what it says that it is a run of")
			} else {
				p.acked(1, facts)
			}
			if got := s.stateOf(c.id) != ""; got != c.stored {
				t.Errorf("stored: %t, want %t", got, c.stored)
			}
		})
	}
}

// TestRunAgain has an agent that reports a run as lost, and one that comes back and knows nothing of its run: before that is on
// record, a second run is ordered, and the agent, which has the job, is told to start it.
func TestRunAgain(t *testing.T) {
	s := newServer(t)
	job := testJob("job", "0 0 * * *")
	job.OnLost = crony.LostRerun
	s.apply(job)
	p := s.connect("a1")
	_, def := p.assigned("job")
	lives := func(at time.Time, state crony.RunState) (crony.RunID, []crony.Fact) {
		id := crony.OccurrenceRunID(def.UID, at, "")
		facts := life("a1", id)
		c := facts[0].Claimed
		c.Job, c.JobUID, c.Trigger, c.ScheduledAt = "job", def.UID, crony.BySchedule, at
		facts[len(facts)-1].Ended = &crony.EndedFact{State: state}
		return id, facts
	}
	told := func(lost crony.RunID, at time.Time) {
		t.Helper()
		msg := p.until(func(m *wire.FromServer) bool { return m.GetStart() != nil }).GetStart()
		req, err := wire.Decode[crony.StartRequest](msg.GetRequest())
		if err != nil || req.Run != crony.RerunID(def.UID, at, "") || req.RerunOf != lost || !req.At.Equal(at) {
			t.Errorf("told to start %+v, %v; in the place of %s", req, err, lost)
		}
		p.send(&wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: "job", Run: string(req.Run)}}})
		s.eventually("the order to be taken", func() bool { return len(s.state.Orders("a1", "job")) == 0 })
	}
	at := time.Now().UTC().Truncate(time.Second)
	_, good := lives(at.Add(-3*time.Second), crony.Succeeded)
	p.acked(1, good)
	id, facts := lives(at, crony.Lost)
	p.send(report(2, facts))
	told(id, at)
	p.until(func(m *wire.FromServer) bool { return m.GetAck().GetId() == 2 })
	if got := s.stateOf(id); got != crony.Lost {
		t.Errorf("the run is %s", got)
	}
	silent, facts := lives(at.Add(-time.Second), crony.Lost)
	p.acked(3, facts[:2])
	p.leave()
	p = s.connect("a1")
	told(silent, at.Add(-time.Second))
	s.eventually("the run to be lost", func() bool { return s.stateOf(silent) == crony.Lost })
}
