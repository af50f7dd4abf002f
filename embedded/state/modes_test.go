package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// jobOf is a job of a mode, due each second.
func jobOf(name string, mode crony.PlacementMode) crony.Job {
	j := job1(name, "1")
	j.Placement = &crony.Placement{Mode: mode}
	return j
}

// passed returns the records of a job, each in a line.
func (r *rig) passed(name string) []string {
	r.t.Helper()
	if err := r.sync(r.ctx()); err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, p := range r.PassesOf(name) {
		line := fmt.Sprintf("of %q %s after %d until %d", p.Of, p.End, int(p.After.Sub(noon).Seconds()), int(p.Until.Sub(noon).Seconds()))
		if p.Unless != "" {
			line = fmt.Sprintf("of %q %s at %d by %s unless reported", p.Of, p.End, int(p.Until.Sub(noon).Seconds()), p.Agent)
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

func (r *rig) wantPassed(name string, want ...string) {
	r.t.Helper()
	if got := r.passed(name); !slices.Equal(got, want) {
		r.t.Errorf("passed over of %s:\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// TestRaceThroughTwoServers has several agents claim the same occurrences at the same time, through two servers: each is
// granted to one of them, and the others are told where the cursor is.
func TestRaceThroughTwoServers(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client)}
	rigs[0].define(jobOf("a", crony.PlaceRace), jobOf("b", crony.PlaceRace))
	const agents, rounds = 6, 30
	epochs := map[string]int64{}
	for i := range agents {
		for _, name := range []string{"a", "b"} {
			agent := fmt.Sprint("a", i)
			epochs[name+agent] = rigs[0].give(agent, name)
		}
	}
	for _, r := range rigs {
		if err := r.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range rounds {
		at := noon.Add(time.Duration(n+1) * time.Second)
		winners := map[string][]string{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range agents {
			agent, r := fmt.Sprint("a", i), rigs[i%len(rigs)]
			all.Go(func() {
				var asks []Ask
				for _, name := range []string{"a", "b"} {
					asks = append(asks, Ask{Job: name, Agent: agent, Epoch: epochs[name+agent], At: at})
				}
				decisions, err := r.Claim(t.Context(), asks)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for i, d := range decisions {
					switch {
					case d.Granted:
						winners[asks[i].Job] = append(winners[asks[i].Job], agent)
						if want := crony.OccurrenceRunID(rigs[0].look(asks[i].Job).def.UID, at, ""); d.Run != want {
							t.Errorf("the run is %s, want %s", d.Run, want)
						}
					case !d.Cursor.Equal(at) || !strings.HasPrefix(d.Reason, "claimed by agent "):
						t.Errorf("the loser %s is told %+v", agent, d)
					}
				}
			})
		}
		all.Wait()
		if len(winners["a"]) != 1 || len(winners["b"]) != 1 {
			t.Fatalf("occurrence %d was won by %v", n, winners)
		}
		rigs[0].clock.forward(time.Second)
		rigs[1].clock.forward(time.Second)
	}
}

// TestRaceThroughAServerThatIsBehind: who does not see the claim before does not write over it without a record.
func TestRaceThroughAServerThatIsBehind(t *testing.T) {
	client := emptied(t)
	r, behind := newRig(t, client), newRig(t, client)
	r.define(jobOf("a", crony.PlaceRace))
	one, two := r.give("a1", "a"), r.give("a2", "a")
	if err := behind.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	behind.link.hold()
	first := r.granted(r.ask("a", "a1", one, 1))
	asked := behind.asked()
	go func() {
		<-asked
		behind.link.release()
	}()
	behind.granted(behind.ask("a", "a2", two, 2))
	r.wantPassed("a", `of "" lost at 1 by a1 unless reported`)

	if again := r.granted(r.ask("a", "a1", one, 1)); again != first {
		t.Errorf("asked again: %s, want %s", again, first)
	}
	r.refused(r.ask("a", "a2", two, 1), "decided already")
	owed := r.Overtaken("a1", "a")
	if len(owed) != 1 || owed[0].Run != first || owed[0].Epoch != one || !owed[0].At.Equal(noon.Add(time.Second)) {
		t.Errorf("a1 owes %+v", owed)
	}
	if owed := r.Overtaken("a2", "a"); len(owed) != 0 {
		t.Errorf("a2 owes %+v", owed)
	}
	if err := r.Forget(t.Context(), r.PassesOf("a")); err != nil {
		t.Fatal(err)
	}
	r.refused(r.ask("a", "a1", one, 1), "decided already") // it is reported, or lost
	if owed := r.Overtaken("a1", "a"); len(owed) != 0 {
		t.Errorf("a1 owes %+v", owed)
	}
}

// TestRaceCatchesUpOnce: when all agents come late, what is passed over is recorded once, and the one occurrence that is made
// up for is claimed once.
func TestRaceCatchesUpOnce(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceRace))
	epochs := map[string]int64{"a1": r.give("a1", "a"), "a2": r.give("a2", "a")}
	r.clock.forward(time.Minute)
	pass := func(agent string, until int) Decision {
		d, err := r.Claim(t.Context(), []Ask{{Job: "a", Agent: agent, Epoch: epochs[agent], At: noon.Add(time.Duration(until) * time.Second),
			After: noon, Reason: "late"}})
		if err != nil {
			t.Fatal(err)
		}
		return d[0]
	}
	if d := pass("a1", 59); !d.Granted {
		t.Errorf("%+v", d)
	}
	if d := pass("a2", 58); d.Granted || !d.Cursor.Equal(noon.Add(59*time.Second)) {
		t.Errorf("a2 is told %+v, want where a1 has moved the cursor", d)
	}
	r.granted(r.ask("a", "a2", epochs["a2"], 60))
	r.refused(r.ask("a", "a1", epochs["a1"], 60), "claimed by agent a2")
	r.wantPassed("a", `of "" missed after 0 until 59`)
}

// TestRaceWhenTheJobChanges: what one agent has claimed is not lost to the others, and the new definition begins once.
func TestRaceWhenTheJobChanges(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceRace))
	one, two := r.give("a1", "a"), r.give("a2", "a")
	r.granted(r.ask("a", "a1", one, 1))
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, has, err := r.Settle(t.Context(), "a2", "a"); err != nil || !has || a.Claim.Run == "" {
		t.Fatalf("a2 has %+v, %v: a1's claim stands", a, err)
	}
	r.wantPassed("a")

	changed := jobOf("a", crony.PlaceRace)
	changed.Note = "2"
	r.define(changed)
	r.refused(r.ask("a", "a2", two, 2), "moved meanwhile")
	a, has, err := r.Settle(t.Context(), "a2", "a")
	if err != nil || !has || a.Definition.Generation != 2 || a.Assignment.Epoch == two {
		t.Fatalf("a2 has %+v, %v", a, err)
	}
	b, has, err := r.Settle(t.Context(), "a1", "a")
	if err != nil || !has || b.Assignment.Epoch == one {
		t.Fatalf("a1 has %+v, %v", b, err)
	}
	r.wantPassed("a", `of "" lost at 1 by a1 unless reported`)
	r.granted(r.ask("a", "a1", b.Assignment.Epoch, 2))
	r.refused(r.ask("a", "a2", a.Assignment.Epoch, 2), "claimed by agent a1")
}

// TestEach: every agent runs every occurrence, by its own id, and the cursors move apart.
func TestEach(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	r.define(jobOf("a", crony.PlaceEach))
	if got := r.keys(claims); len(got) != 0 {
		t.Errorf("a job of mode each that nobody has has the claims %v", got)
	}
	one := r.give("a1", "a")
	r.clock.forward(10 * time.Second)
	other.clock.forward(10 * time.Second)
	two := r.give("a2", "a")
	if got := r.keys(claims); !slices.Equal(got, []string{claims + "a/a1", claims + "a/a2"}) {
		t.Errorf("the claims are %v", got)
	}
	uid := r.look("a").def.UID
	for n, agent := range map[int]string{1: "a1", 11: "a2"} {
		epoch := map[string]int64{"a1": one, "a2": two}[agent]
		if err := other.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := crony.OccurrenceRunID(uid, noon.Add(time.Duration(n)*time.Second), agent)
		for _, via := range []*rig{r, other} { // the second time it is the same again
			if run := via.granted(via.ask("a", agent, epoch, n)); run != want {
				t.Errorf("%s at %d runs %s, want %s", agent, n, run, want)
			}
		}
	}
	r.refused(r.ask("a", "a2", two, 10), "decided already") // due before it had the job
	r.granted(r.ask("a", "a1", one, 11))
	r.refused(r.ask("a", "a1", two, 12), "moved meanwhile")

	h, err := r.History(t.Context(), "a")
	if err != nil || len(h.Holders) != 2 || !h.Claim.At.IsZero() {
		t.Fatalf("%+v, %v", h, err)
	}
	for i, want := range []struct{ since, cursor int }{{0, 11}, {10, 11}} {
		got := h.Holders[i]
		if !got.Since.Equal(noon.Add(time.Duration(want.since)*time.Second)) || !got.Assigned ||
			!got.Claim.At.Equal(noon.Add(time.Duration(want.cursor)*time.Second)) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	st, err := r.Job(t.Context(), "a")
	if err != nil || st.Assigned != 2 || len(st.Assignments) != 2 || st.Assignments[0].Agent != "a1" {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestEachWhenTheJobChanges: agents settle one by one, each what it has not decided.
func TestEachWhenTheJobChanges(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceEach))
	r.granted(r.ask("a", "a1", r.give("a1", "a"), 1))
	r.granted(r.ask("a", "a2", r.give("a2", "a"), 4))
	r.clock.forward(5 * time.Second)
	changed := jobOf("a", crony.PlaceEach)
	changed.Schedule = "*/2 * * * * *"
	r.define(changed)
	for _, agent := range []string{"a1", "a2"} {
		a, has, err := r.Settle(t.Context(), agent, "a")
		if err != nil || !has || !a.Claim.At.Equal(noon.Add(5*time.Second)) {
			t.Fatalf("%s has %+v, %v", agent, a, err)
		}
		r.granted(r.ask("a", agent, a.Assignment.Epoch, 6))
	}
	r.wantPassed("a", `of "a1" lost at 1 by a1 unless reported`, `of "a1" missed after 1 until 5`,
		`of "a2" lost at 4 by a2 unless reported`, `of "a2" missed after 4 until 5`)
}

// TestEachComesAndGoes: an agent that is removed owes what it had not decided; one that comes back begins anew.
func TestEachComesAndGoes(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceEach))
	r.granted(r.ask("a", "a1", r.give("a1", "a"), 1))
	r.granted(r.ask("a", "a2", r.give("a2", "a"), 2))
	r.clock.forward(5 * time.Second)
	if err := r.Bury(t.Context(), crony.Tombstone{ID: "a1", Role: crony.JoinAgent}); err != nil {
		t.Fatal(err)
	}
	if got := r.keys(claims); !slices.Equal(got, []string{claims + "a/a2"}) {
		t.Errorf("the claims are %v", got)
	}
	r.wantPassed("a", `of "a1" lost at 1 by a1 unless reported`, `of "a1" missed after 1 until 5`)
	r.give("a3", "a")

	narrow := jobOf("a", crony.PlaceEach)
	narrow.Placement.Exclude = []string{"a2"} // as its validation will have it; here it only differs
	r.clock.forward(time.Second)
	r.define(narrow)
	if j := r.look("a"); len(j.assignments) != 0 || !j.unsettled() {
		t.Fatalf("the job is on %v", j.agents())
	}
	if got := r.keys(claims); len(got) != 2 {
		t.Errorf("until it is placed anew the cursors stay: %v", got)
	}
	r.clock.forward(time.Second)
	epoch := r.give("a3", "a")
	if got := r.keys(claims); !slices.Equal(got, []string{claims + "a/a3"}) {
		t.Errorf("the claims are %v", got)
	}
	h, err := r.History(t.Context(), "a")
	if err != nil || len(h.Holders) != 1 || !h.Holders[0].Since.Equal(noon.Add(5*time.Second)) {
		t.Errorf("%+v, %v: a3 has had it without a break", h.Holders, err)
	}
	r.granted(r.ask("a", "a3", epoch, 6)) // which came due while nobody had the job
	r.wantPassed("a", `of "a1" lost at 1 by a1 unless reported`, `of "a1" missed after 1 until 5`,
		`of "a2" lost at 2 by a2 unless reported`, `of "a2" missed after 2 until 7`)
}

// TestModesChange: what came due by one mode is decided by it, what comes due after the change by the other.
func TestModesChange(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceOne))
	r.granted(r.ask("a", "a1", r.give("a1", "a"), 1))
	r.clock.forward(3 * time.Second)
	r.define(jobOf("a", crony.PlaceEach))
	if j := r.look("a"); len(j.assignments) != 0 || !j.def.PlanSince.Equal(noon.Add(3*time.Second)) {
		t.Errorf("the job is on %v since %v", j.agents(), j.def.PlanSince)
	}
	r.clock.forward(time.Second)
	epoch := r.give("a1", "a")
	r.wantPassed("a", `of "" lost at 1 by a1 unless reported`, `of "" missed after 1 until 3`)
	r.give("a2", "a")
	r.refused(r.ask("a", "a1", epoch, 4), "decided already")
	r.granted(r.ask("a", "a1", epoch, 5))
	r.clock.forward(3 * time.Second)
	r.define(jobOf("a", crony.PlaceRace))
	r.clock.forward(time.Second)
	r.define(func() crony.Job { j := jobOf("a", crony.PlaceRace); j.Note = "again, before it is placed"; return j }())
	epoch = r.give("a2", "a")
	if got := r.keys(claims); !slices.Equal(got, []string{claims + "a"}) {
		t.Errorf("the claims are %v", got)
	}
	r.wantPassed("a", `of "" lost at 1 by a1 unless reported`, `of "" missed after 1 until 3`,
		`of "a1" lost at 5 by a1 unless reported`, `of "a1" missed after 5 until 7`, `of "a2" missed after 4 until 7`)
	r.granted(r.ask("a", "a2", epoch, 8))
}

// TestDeleteModes: nothing is left of a job that several have, but for the records of what was open.
func TestDeleteModes(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("each", crony.PlaceEach), jobOf("race", crony.PlaceRace))
	for _, name := range []string{"each", "race"} {
		r.granted(r.ask(name, "a1", r.give("a1", name), 1))
		r.give("a2", name)
	}
	r.clock.forward(3 * time.Second)
	for _, name := range []string{"each", "race"} {
		if err := r.DeleteJob(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{claims, jobs, specs, history} {
		if got := r.keys(prefix); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
	}
	r.wantPassed("each", `of "a1" lost at 1 by a1 unless reported`, `of "a1" missed after 1 until 3`, `of "a2" missed after 0 until 3`)
	r.wantPassed("race", `of "" lost at 1 by a1 unless reported`, `of "" missed after 1 until 3`)
}

// TestAsManyAgentsAsMayBe: a job that all that may have it have can be changed, paused and deleted.
func TestAsManyAgentsAsMayBe(t *testing.T) {
	if testing.Short() {
		t.Skip("writes tens of thousands of keys")
	}
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceEach))
	var ops []clientv3.Op
	for n := range crony.MaxAssigned {
		agent := fmt.Sprintf("agent-%020d", n)
		claim := crony.Claim{At: noon, Run: crony.NewRunID(noon), Agent: agent, Generation: 1, Epoch: 1}
		ops = append(ops, clientv3.OpPut(assignmentKey(agent, "a"), encode(crony.Assignment{Job: "a", Agent: agent, Generation: 1, Reason: "test"})),
			clientv3.OpPut(claimKey("a", agent), claimValue(claim, noon)))
	}
	if _, err := r.client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
		t.Fatal(err)
	}
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.clock.forward(time.Hour)
	if _, err := r.PauseJob(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	st, err := r.ListJobs(t.Context(), crony.JobQuery{})
	if err != nil || st.Items[0].Assigned != crony.MaxAssigned || len(st.Items[0].Assignments) != crony.ListedAssignments {
		t.Errorf("%+v, %v", st, err)
	}
	if j := r.look("a"); j.unsettled() || j.generation() != 2 {
		t.Errorf("%d of the assignments are not of generation %d", j.stale, j.generation())
	}
	if err := r.DeleteJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n := len(r.keys(passes)); n != 2*crony.MaxAssigned {
		t.Errorf("%d records, want that a claim is lost and an hour missed for each agent", n)
	}
}

// TestModesFollowedAndListed makes random changes through one server, and compares what it shows, what another that followed
// shows, and what one that is opened later does.
func TestModesFollowedAndListed(t *testing.T) {
	client := emptied(t)
	r, follows := newRig(t, client), newRig(t, client)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Log("seed", seed)
		}
	}()
	modes := []crony.PlacementMode{crony.PlaceOne, crony.PlaceEach, crony.PlaceRace}
	for n := range 150 {
		name, agent := fmt.Sprint("job-", random.IntN(4)), fmt.Sprint("a", random.IntN(4))
		r.clock.forward(time.Second)
		switch random.IntN(8) {
		case 0, 1:
			j := jobOf(name, modes[random.IntN(3)])
			j.Note = fmt.Sprint(random.IntN(3))
			r.define(j)
		case 2, 3, 4:
			if r.look(name).rev != 0 {
				r.give(agent, name)
			}
		case 5, 6:
			if a, has, err := r.Settle(t.Context(), agent, name); err != nil {
				t.Fatal(err)
			} else if has {
				r.granted(r.ask(name, agent, a.Assignment.Epoch, n+2))
			}
		case 7:
			if err := r.DeleteJob(t.Context(), name); err != nil && crony.CodeOf(err) != crony.NotFound {
				t.Fatal(err)
			}
		}
		checkCursors(t, r)
	}
	if err := follows.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameView(t, r, follows)
	sameView(t, r, newRig(t, client))
}

// checkCursors checks that each job has the cursors that its mode and its assignments need, and, once it is placed, no other.
func checkCursors(t *testing.T, r *rig) {
	t.Helper()
	for _, j := range r.mirror.find("", 1000, func(*job) bool { return true }) {
		has := map[string]bool{}
		for _, p := range r.mirror.parts(j.name) {
			has[p.whose] = true
		}
		need := map[string]bool{}
		for _, agent := range j.agents() {
			need[agent] = j.each()
		}
		need[""] = !j.each()
		for whose, is := range need {
			if is && !has[whose] {
				t.Fatalf("%s of mode %s lacks the cursor of %q", j.name, j.mode(), whose)
			}
			if is {
				delete(has, whose)
			}
		}
		if len(j.assignments) > 0 && len(has) > 0 {
			t.Fatalf("%s of mode %s on %v has the cursors of %v as well", j.name, j.mode(), j.agents(), has)
		}
	}
}

// TestFeedsOfAllWhoHaveTheJob: a change of a job is told to every agent that has it, and nobody else.
func TestFeedsOfAllWhoHaveTheJob(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(jobOf("a", crony.PlaceRace))
	feeds := map[string]*Feed{}
	for _, agent := range []string{"a1", "a2", "a3"} {
		feeds[agent] = r.Changes(agent)
		defer feeds[agent].Close()
	}
	r.give("a1", "a")
	r.give("a2", "a")
	told := func() (list []string) {
		for agent, f := range feeds {
			if slices.Contains(f.Take().Jobs, "a") {
				list = append(list, agent)
			}
		}
		slices.Sort(list)
		return list
	}
	if got := told(); !slices.Equal(got, []string{"a1", "a2"}) {
		t.Errorf("placed: told to %v", got)
	}
	for what, change := range map[string]func(ctx context.Context) error{
		"paused":  func(ctx context.Context) error { _, err := r.PauseJob(ctx, "a", true); return err },
		"deleted": func(ctx context.Context) error { return r.DeleteJob(ctx, "a") },
	} {
		if r.look("a").rev == 0 {
			r.define(jobOf("a", crony.PlaceRace))
			r.give("a1", "a")
			r.give("a2", "a")
			told()
		}
		if err := change(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := told(); !slices.Equal(got, []string{"a1", "a2"}) {
			t.Errorf("%s: told to %v", what, got)
		}
	}
}
