package hub

import (
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// places waits for the next word on how runs stand with their locks, and returns behind which run each waits.
func (p *byHand) places() map[crony.RunID]string {
	p.t.Helper()
	found := map[crony.RunID]string{}
	for _, place := range p.until(func(m *wire.FromServer) bool { return m.GetLock() != nil }).GetLock().GetPlaces() {
		found[crony.RunID(place.GetRun())] = place.GetBehind() + place.GetRefused()
	}
	return found
}

func (p *byHand) lock(epoch int64, run crony.RunID) string {
	p.t.Helper()
	p.send(&wire.FromAgent{Kind: &wire.FromAgent_Lock{Lock: &wire.Lock{Job: "job", Epoch: epoch, Run: string(run)}}})
	found, ok := p.places()[run]
	if !ok {
		p.t.Fatalf("no answer for %s", run)
	}
	return found
}

// TestQueueOfRuns has an agent whose runs wait for each other. With the end of one, as soon as it is on disk, the agent hears of
// the next; and what an agent that comes back knows nothing of is in nobody's way.
func TestQueueOfRuns(t *testing.T) {
	s := newServer(t)
	job := testJob("job", "* * * * * *")
	job.Overlap = crony.OverlapQueue
	s.apply(job)
	agent := s.connect("a1")
	msg, _ := agent.assigned("job")
	epoch, began := msg.GetEpoch(), time.Now().Add(time.Second)
	var runs []crony.RunID
	for n := range 4 {
		o := &wire.Occurrence{Job: "job", Epoch: epoch, At: began.Add(time.Duration(n) * time.Second).UnixNano(), Due: true}
		d := agent.claim(uint64(n), o).GetDecisions()[0]
		if !d.GetGranted() || n > 0 && d.GetBusy() != string(runs[0]) {
			t.Fatalf("%d: %v", n, d)
		}
		runs = append(runs, crony.RunID(d.GetRun()))
	}
	if behind := agent.lock(epoch, runs[1]); behind != string(runs[0]) {
		t.Errorf("the second waits for %q, want %s", behind, runs[0])
	}
	if why := agent.lock(epoch+1000, "another"); why == "" {
		t.Error("a run entered by an assignment that there is not")
	}
	agent.acked(1, life("a1", runs[0]))
	if found := agent.places(); found[runs[1]] != "" || found[runs[2]] != string(runs[1]) {
		t.Errorf("after the end of the first: %v", found)
	}
	if behind := agent.lock(epoch, runs[1]); behind != "" {
		t.Errorf("the second waits for %q", behind)
	}
	agent.leave()
	agent = s.connect("a1", string(runs[2])) // the second is forgotten, the last may never have reached the agent
	found := agent.places()
	if len(found) == 3 { // it was told how they stood before the second was freed, and is told again
		found = agent.places()
	}
	if len(found) != 2 || found[runs[2]] != "" || found[runs[3]] != string(runs[2]) {
		t.Errorf("when the agent is back: %v", found)
	}
}

// scheduled is what an agent says of the run of an occurrence.
func scheduled(agent, uid string, at time.Time) []crony.Fact {
	facts := life(agent, crony.OccurrenceRunID(uid, at, ""))
	claimed := facts[0].Claimed
	claimed.JobUID, claimed.Trigger, claimed.ScheduledAt = uid, crony.BySchedule, at
	return facts
}

// TestUnclaimedHolds has an agent report a run that it started without a claim, and that goes on: nothing more of the job is granted
// until it has ended.
func TestUnclaimedHolds(t *testing.T) {
	s := newServer(t)
	job := testJob("job", "* * * * * *")
	job.Overlap = crony.OverlapForbid
	s.apply(job)
	p := s.connect("a1")
	msg, def := p.assigned("job")
	at := time.Now().UTC().Truncate(time.Second).Add(-time.Second)
	facts := scheduled("a1", def.UID, at)
	facts[0].Claimed.Unclaimed, facts[0].Claimed.Group = true, def.Job.InGroup()
	over := scheduled("a1", def.UID, at.Add(-time.Second))
	over[0].Claimed.Unclaimed = true
	p.acked(1, append(over, facts[:2]...))
	ask := &wire.Occurrence{Job: "job", Epoch: msg.GetEpoch(), At: at.Add(2 * time.Second).UnixNano(), Due: true}
	if d := p.claim(1, ask).GetDecisions()[0]; d.GetGranted() || d.GetBusy() != string(facts[0].Run) {
		t.Errorf("while it goes on: %v", d)
	}
	p.acked(2, facts[2:])
	if d := p.claim(2, ask).GetDecisions()[0]; !d.GetGranted() {
		t.Errorf("when it has ended: %v", d)
	}
	p.acked(3, facts)                   // the acknowledgements were lost
	s.apply(testJob("last", "@manual")) // what has been written before is seen before it
	p.assigned("last")
	if held := s.state.Locks("a1"); len(held) != 1 || held[0].Run == facts[0].Run {
		t.Errorf("places: %+v", held)
	}
}
