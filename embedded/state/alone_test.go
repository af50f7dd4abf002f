package state

import (
	"math/rand/v2"
	"testing"
	"time"

	"crony"
)

// TestAlone has three agents, on two servers, race for a job that is due each second and of which one run goes on at a time, each
// for seconds. Each occurrence becomes one run or is skipped, and no two runs go on at once.
func TestAlone(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client)}
	r := rigs[0]
	job := alone("a", crony.OverlapForbid, 0)
	job.Placement = &crony.Placement{Mode: crony.PlaceRace}
	r.define(job)
	agents := []string{"a1", "a2", "a3"}
	epochs := map[string]int64{}
	cursors := map[string]time.Time{}
	for _, agent := range agents {
		epochs[agent] = r.give(agent, "a")
		cursors[agent] = r.look("a").claim.At
	}
	random := rand.New(rand.NewPCG(1, 2))
	type going struct {
		run   crony.RunID
		agent string
		end   int
	}
	var now *going
	ran := map[time.Time]crony.RunID{}
	for n := 1; n <= 200; n++ {
		if now != nil && now.end <= n {
			rigs[random.IntN(2)].end("a", now.agent, now.run)
			now = nil
		}
		for _, rig := range rigs {
			rig.clock.forward(time.Second)
		}
		random.Shuffle(len(agents), func(i, k int) { agents[i], agents[k] = agents[k], agents[i] })
		for _, agent := range agents {
			rig := rigs[random.IntN(2)]
			if now != nil && now.agent == agent && random.IntN(2) == 0 {
				continue // it knows that its own run goes on
			}
			d := rig.decide(Ask{Job: "a", Agent: agent, Epoch: epochs[agent], At: second(n), Due: true})
			switch {
			case d.Granted && now != nil:
				t.Fatalf("%d: %s was granted %s while %s goes on", n, agent, d.Run, now.run)
			case d.Granted:
				now = &going{d.Run, agent, n + 1 + random.IntN(5)}
				ran[second(n)] = d.Run
			case d.Busy != "" && (now == nil || d.Busy != now.run):
				t.Fatalf("%d: %s is in the way, want %+v", n, d.Busy, now)
			case d.Busy != "":
				rig.tellSkipped(t, agent, epochs[agent], cursors, n)
			default:
				cursors[agent] = d.Cursor
			}
		}
	}
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	skipped := map[time.Time]bool{}
	for _, p := range r.PassesOf("a") {
		if s, ok := p.Stretch(); ok && s.End == crony.EndSkipped {
			for at := s.From; !at.After(s.To); at = at.Add(time.Second) {
				if skipped[at] {
					t.Errorf("%s is skipped twice", at)
				}
				skipped[at] = true
			}
		}
	}
	for n := 1; n <= 200; n++ {
		if at := second(n); skipped[at] == (ran[at] != "") {
			t.Errorf("%d: run %q, skipped %v", n, ran[at], skipped[at])
		}
	}
	if len(ran) < 30 {
		t.Errorf("%d of 200 ran", len(ran))
	}
}

// tellSkipped has an agent tell that an occurrence is skipped, as of the cursor that it knows.
func (r *rig) tellSkipped(t *testing.T, agent string, epoch int64, cursors map[string]time.Time, n int) {
	t.Helper()
	for range 3 {
		d := r.decide(Ask{Job: "a", Agent: agent, Epoch: epoch, At: second(n), After: cursors[agent], Skipped: true, Reason: "busy"})
		if d.Granted {
			cursors[agent] = second(n)
			return
		}
		if cursors[agent] = d.Cursor; !d.Cursor.Before(second(n)) {
			return
		}
	}
	t.Fatalf("%d could not be passed over by %s", n, agent)
}
