package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// from returns the moves of jobs from one agent to another.
func (r *rig) from(agent, to string, names ...string) []Move {
	r.t.Helper()
	var moves []Move
	for _, name := range names {
		j := r.look(name)
		i, found := j.find(agent)
		if !found {
			r.t.Fatalf("%s has not %s", agent, name)
		}
		moves = append(moves, Move{Job: name, Generation: j.generation(), Drop: []crony.Assignment{*j.assignments[i]},
			Put: []crony.Assignment{{Job: name, Agent: to, Generation: j.generation(), Since: r.now(), Reason: "test"}}})
	}
	return moves
}

func (r *rig) made(term Term, moves ...Move) []string {
	r.t.Helper()
	made, err := r.Place(r.ctx(), term, moves)
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

// TestPlaceThousand: a thousand jobs of an agent move in a few transactions, also where some of them can't.
func TestPlaceThousand(t *testing.T) {
	r := newRig(t, emptied(t))
	r.manyJobs("a1", 1000)
	moves := r.from("a1", "a2", r.AssignedTo("a1")...)
	r.define(job1("job-0007", "changed"))
	before := r.tap.asked.Load()
	made := r.made(r.elect(), moves...)
	if asked := r.tap.asked.Load() - before; asked > 6 || len(made) != 999 || slices.Contains(made, "job-0007") {
		t.Errorf("%d moved in %d transactions", len(made), asked)
	}
	if diff := cmp.Diff([]string{"job-0007"}, r.AssignedTo("a1")); diff != "" || len(r.AssignedTo("a2")) != 999 || len(r.keys(jobs)) != 1000 {
		t.Errorf("%d assignments; left (-want +got):\n%s", len(r.keys(jobs)), diff)
	}
	term := r.elect()
	if made := r.made(term, moves[:10]...); len(made) != 9 || r.Revision() != term.rev {
		t.Errorf("made again: %v; revision %d after %d", made, r.Revision(), term.rev)
	}
}

// TestPlaceGone: what moves because an agent is gone stays if it is back.
func TestPlaceGone(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", ""), job1("b", ""))
	r.give("a1", "a", "b")
	moves := r.from("a1", "a2", "a", "b")
	moves[0].Gone = "a1"
	p := r.register(crony.Agent{ID: "a1"})
	if made := r.made(r.elect(), moves...); !slices.Equal(made, []string{"b"}) || r.agentOf("a") != "a1" || r.agentOf("b") != "a2" {
		t.Errorf("moved %v", made)
	}
	p.Leave(t.Context())
	if made := r.made(r.elect(), moves[0]); !slices.Equal(made, []string{"a"}) || r.agentOf("a") != "a2" {
		t.Errorf("when it is gone: moved %v", made)
	}
}

// TestPlaceQuiet: what moves between its runs stays if another was claimed meanwhile.
func TestPlaceQuiet(t *testing.T) {
	r := newRig(t, emptied(t))
	j := job1("a", "")
	j.Schedule = "* * * * * *"
	r.define(j, job1("b", ""))
	epoch := r.give("a1", "b", "a")
	p := r.Places(Scope{Jobs: []string{"a", "nothing"}})
	if len(p.Jobs) != 1 || p.Jobs[0].ClaimRev == 0 {
		t.Fatalf("places: %+v", p.Jobs)
	}
	moves := r.from("a1", "a2", "a")
	moves[0].Claim = p.Jobs[0].ClaimRev
	at := r.now().Add(time.Second)
	if d, err := r.Claim(t.Context(), []Ask{{Job: "a", Agent: "a1", Epoch: epoch, At: at}}); err != nil || !d[0].Granted {
		t.Fatalf("%+v, %v", d, err)
	}
	r.wait("the claim to be seen", func() bool { return r.look("a").claim.Run != "" })
	if made := r.made(r.elect(), moves...); len(made) != 0 || r.agentOf("a") != "a1" {
		t.Errorf("moved %v", made)
	}
	p = r.Places(Scope{Of: []string{"a1"}})
	if len(p.Jobs) != 2 || p.Jobs[0].Claim.Agent != "a1" || !p.Jobs[0].Claim.At.Equal(at) {
		t.Fatalf("places: %+v", p.Jobs)
	}
	moves[0].Claim = p.Jobs[0].ClaimRev
	if made := r.made(r.elect(), moves...); !slices.Equal(made, []string{"a"}) {
		t.Errorf("then moved %v", made)
	}
}

// TestPlaceEach: a job of mode each has a cursor for each agent that has it, however many get it at once, and none for others.
func TestPlaceEach(t *testing.T) {
	r := newRig(t, emptied(t))
	j := job1("a", "")
	j.Placement = &crony.Placement{Mode: crony.PlaceEach}
	r.define(j, job1("b", ""))
	m := Move{Job: "a", Generation: 1}
	const many = maxMoved + 200
	for n := range many {
		m.Put = append(m.Put, crony.Assignment{Job: "a", Agent: fmt.Sprintf("a%04d", n), Generation: 1, Since: r.now(), Reason: "test"})
	}
	if made := r.made(r.elect(), m); !slices.Equal(made, []string{"a"}) || len(r.keys(jobs)) != many || len(r.keys(claims+"a/")) != many {
		t.Fatalf("moved %v, %d assignments, %d cursors", made, len(r.keys(jobs)), len(r.keys(claims+"a/")))
	}
	p := r.Places(Scope{Wide: true})
	if len(p.Jobs) != 1 || len(p.Jobs[0].Assignments) != many || len(p.Load) != many {
		t.Fatalf("%d wide jobs", len(p.Jobs))
	}
	drop := Move{Job: "a", Generation: 1, Drop: p.Jobs[0].Assignments[1:]}
	if made := r.made(r.elect(), drop); !slices.Equal(made, []string{"a"}) {
		t.Errorf("taken away: %v", made)
	}
	if diff := cmp.Diff([]string{claims + "a/a0000"}, r.keys(claims+"a/")); diff != "" || len(r.keys(jobs)) != 1 {
		t.Errorf("%d assignments; cursors (-want +got):\n%s", len(r.keys(jobs)), diff)
	}
}

// TestPlaceEachInPieces: a job of mode each that changes, and is given anew to more agents than a transaction takes, goes on at
// each of them from where it was, and is closed only where it is not given again.
func TestPlaceEachInPieces(t *testing.T) {
	r := newRig(t, emptied(t))
	j := jobOf("a", crony.PlaceEach)
	r.define(j)
	m := Move{Job: "a", Generation: 1}
	const many = 2*maxMoved + 100
	for n := range many {
		m.Put = append(m.Put, crony.Assignment{Job: "a", Agent: fmt.Sprintf("a%04d", n), Generation: 1, Since: r.now(), Reason: "test"})
	}
	r.made(r.elect(), m)
	before := r.keys(claims)
	j.Placement.Selector = "!web"
	r.clock.forward(5 * time.Second)
	r.define(j)
	r.clock.forward(5 * time.Second)
	m.Generation = 2
	m.Put = slices.Delete(m.Put, 7, 8)
	for i := range m.Put {
		m.Put[i].Generation = 2
	}
	if made := r.made(r.elect(), m); !slices.Equal(made, []string{"a"}) || len(r.keys(jobs)) != many-1 {
		t.Fatalf("made %v, %d assignments", made, len(r.keys(jobs)))
	}
	if diff := cmp.Diff(slices.Delete(before, 7, 8), r.keys(claims)); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	r.wantPassed("a", `of "a0007" missed after 0 until 5`)
	h, err := r.History(t.Context(), "a")
	if err != nil || len(h.Holders) != many-1 {
		t.Fatalf("%d have it, %v", len(h.Holders), err)
	}
	for _, held := range h.Holders {
		if !held.Since.Equal(noon) {
			t.Errorf("%s is taken to have it since %v", held.Agent, held.Since)
		}
	}
}

// TestPlaceNoticed: whoever deletes a job while it is placed on one more agent takes it from that one too.
func TestPlaceNoticed(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	j := job1("a", "")
	j.Placement = &crony.Placement{Mode: crony.PlaceRace}
	r.define(j)
	r.give("a1", "a")
	other.wait("the other to know the job", func() bool { return other.newest("a") != nil })
	other.link.hold()
	put := Move{Job: "a", Generation: 1, Put: []crony.Assignment{{Job: "a", Agent: "a2", Generation: 1, Since: r.now()}}}
	if made := r.made(r.elect(), put); len(made) != 1 {
		t.Fatalf("moved %v", made)
	}
	done, asked := make(chan error, 1), other.asked()
	go func() { done <- other.DeleteJob(t.Context(), "a") }()
	<-asked
	other.link.release()
	if err := <-done; err != nil || len(r.keys(jobs)) != 0 {
		t.Errorf("%v; left: %v", err, r.keys(jobs))
	}
}

// TestStrays: agents that have jobs and of which nothing is known, but for those that were removed.
func TestStrays(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", ""), job1("b", ""))
	r.give("a1", "a")
	r.give("a2", "b")
	r.register(crony.Agent{ID: "a2"})
	if diff := cmp.Diff([]string{"a1"}, r.Strays()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.put(tombstones+"a1", encode(crony.Tombstone{ID: "a1", Role: crony.JoinAgent}))
	r.wait("the tombstone", func() bool { return len(r.Strays()) == 0 })
}
