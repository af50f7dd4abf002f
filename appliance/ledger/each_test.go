package ledger_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/embedded/state"
)

// fleet is a job that each of several agents runs, each with a life of its own; the last of them has it no more.
type fleet struct {
	world
	*rand.Rand
	sims []*simulation
}

func newFleet(seed uint64) *fleet {
	base := newSimulation(seed)
	for i := range base.Definitions {
		base.Definitions[i].Job.Placement = &crony.Placement{Mode: crony.PlaceEach}
	}
	f := &fleet{world: world{now: base.now}, Rand: base.Rand}
	f.Definitions = base.Definitions
	for n := range 2 + f.IntN(4) {
		since := clock("08:00")
		if n > 0 {
			since = since.Add(time.Duration(f.IntN(4*3600)) * time.Second)
		}
		sim := &simulation{Rand: f.Rand, cursor: since, since: since, agent: fmt.Sprint("a", n), records: map[time.Time]int{},
			named: map[time.Time]bool{}, held: map[time.Time][]time.Time{}}
		sim.Definitions, sim.now = f.Definitions, f.now
		sim.live()
		f.sims = append(f.sims, sim)
	}
	f.gather()
	return f
}

// gather puts the records of all lives together.
func (f *fleet) gather() {
	f.runs, f.stretches, f.Holders = nil, nil, nil
	for i, sim := range f.sims {
		f.runs, f.stretches = append(f.runs, sim.runs...), append(f.stretches, sim.stretches...)
		if i < len(f.sims)-1 {
			f.Holders = append(f.Holders, state.Holder{Agent: sim.agent, Assigned: true, Connected: true, Claim: sim.Claim, Since: sim.since})
		}
	}
}

// The property: of a job that each agent runs, every agent owes what came due since it got the job, and nothing else; what is
// recorded of one is nothing of another's; and all of them together are no more than the sum.
func TestEachAgainstAHistory(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 6
	}
	for i := range rounds {
		f := newFleet(uint64(i))
		f.portion = []int{0, 10, 60}[i%3]
		checkSum(t, f)
		checkEachPage(t, f)
		checkEachLoss(t, f)
		checkEachExplained(t, f)
		if t.Failed() {
			t.Fatalf("round %d: %d generations, %d agents, %d runs, %d stretches", i, len(f.Definitions), len(f.sims), len(f.runs), len(f.stretches))
		}
	}
}

func (f *fleet) verifyOf(t *testing.T, agent string) crony.Verification {
	t.Helper()
	v, err := f.ledger(t).VerifyLedger(t.Context(), crony.VerifyQuery{Job: "backup", Agent: agent, From: clock("08:00"), To: f.now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// owed returns how many instants the schedules in force have named since the agent got the job.
func (s *simulation) owed() (n int64) {
	for i := range s.Definitions {
		d, at, until := &s.Definitions[i], s.since, s.now
		if d.UpdatedAt.After(at) {
			at = d.UpdatedAt
		}
		if i+1 < len(s.Definitions) {
			until = s.Definitions[i+1].UpdatedAt
		}
		for in, ok := d.Plan().Instant(at); ok && !in.At.After(until); in, ok = d.Plan().Instant(in.At) {
			n++
		}
	}
	return n
}

func checkSum(t *testing.T, f *fleet) {
	t.Helper()
	whole := f.verifyOf(t, "")
	if whole.Faulty != 0 || !whole.Complete {
		t.Errorf("the ledger does not verify clean: %+v", whole)
	}
	ends := map[crony.End]int64{}
	for i, sim := range f.sims {
		v := f.verifyOf(t, sim.agent)
		want := sim.owed()
		if i == len(f.sims)-1 {
			want = 0 // what it should have done is not known any more
		}
		if v.Expected != want || v.Faulty != 0 || v.Ends[crony.EndUnrecorded] != 0 {
			t.Errorf("%s, since %s, should have %d occurrences: %+v", sim.agent, sim.since, want, v)
		}
		for end, n := range v.Ends {
			ends[end] += n
		}
	}
	if diff := cmp.Diff(ends, whole.Ends); diff != "" {
		t.Errorf("of all agents together (-sum +whole): %s", diff)
	}
}

// counts tells how many occurrences of each agent ended how.
func counts(list []crony.LedgerEntry) map[string]int64 {
	sum := map[string]int64{}
	for _, e := range list {
		sum[fmt.Sprintf("%s %s %s", e.Agent, e.End, e.Reason)] += e.Count
	}
	return sum
}

func checkEachPage(t *testing.T, f *fleet) {
	t.Helper()
	all := f.list(t, clock("08:00"), f.now, crony.MaxLimit)
	small := f.list(t, clock("08:00"), f.now, 1+f.IntN(5))
	if diff := cmp.Diff(counts(all), counts(small)); diff != "" {
		t.Errorf("in small pages (-large +small)\n%s", diff)
	}
	if !slices.IsSortedFunc(all, func(a, b crony.LedgerEntry) int { return a.From.Compare(b.From) }) {
		t.Errorf("the list is not in order: %v", texts(all))
	}
	one := f.sims[f.IntN(len(f.sims))].agent
	of := counts(f.query(t, crony.LedgerQuery{Agent: one, From: clock("08:00"), To: f.now, Limit: crony.MaxLimit}))
	whole := counts(all)
	maps.DeleteFunc(whole, func(key string, _ int64) bool { return !strings.HasPrefix(key, one+" ") })
	if diff := cmp.Diff(whole, of); diff != "" {
		t.Errorf("of %s alone (-of all +alone)\n%s", one, diff)
	}
}

// checkEachLoss takes a run of one agent away: that is a gap of that agent.
func checkEachLoss(t *testing.T, f *fleet) {
	t.Helper()
	defer f.gather()
	for _, i := range f.Perm(len(f.sims) - 1) {
		sim := f.sims[i]
		for _, n := range f.Perm(len(sim.runs)) {
			lost := sim.runs[n]
			if at := lost.ScheduledAt; !sim.named[at] || sim.records[at] != 1 {
				continue
			}
			f.gather()
			f.runs = slices.DeleteFunc(f.runs, func(r crony.Run) bool { return r.ID == lost.ID })
			v := f.verifyOf(t, "")
			if v.Faulty != 1 || v.Faults[0].Kind != crony.FaultGap || v.Faults[0].Agent != sim.agent || !v.Faults[0].At.Equal(lost.ScheduledAt) {
				t.Errorf("without the run of %s at %s: %+v", sim.agent, lost.ScheduledAt, v.Faults)
			}
			break
		}
	}
}

func checkEachExplained(t *testing.T, f *fleet) {
	t.Helper()
	for _, sim := range f.sims[:len(f.sims)-1] {
		for at := range sim.named {
			x, err := f.ledger(t).ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "backup", At: at})
			if err != nil || x.Entry != nil || !x.Occurrence {
				t.Fatalf("%+v, %v", x, err)
			}
			for _, other := range f.sims[:len(f.sims)-1] {
				told := slices.ContainsFunc(x.Agents, func(e crony.LedgerEntry) bool { return e.Agent == other.agent })
				if told != (other.named[at] || other.records[at] > 0) {
					t.Errorf("at %s %s, since %s: told %v: %s", at, other.agent, other.since, told, x.Words)
				}
			}
			one, err := f.ledger(t).ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "backup", At: at, Agent: sim.agent})
			i := slices.IndexFunc(x.Agents, func(e crony.LedgerEntry) bool { return e.Agent == sim.agent })
			if err != nil || one.Entry == nil || i < 0 || one.Entry.End != x.Agents[i].End || !strings.Contains(one.Words, sim.agent) {
				t.Errorf("of %s at %s: %+v, %v", sim.agent, at, one, err)
			}
			break
		}
	}
}

// each has the job be of mode each from a generation on.
func (w *world) each(from int) *world {
	for i := from - 1; i < len(w.Definitions); i++ {
		w.Definitions[i].Job.Placement = &crony.Placement{Mode: crony.PlaceEach}
	}
	return w
}

// of makes all records from the n-th on an agent's own.
func (w *world) of(agent string, run, stretch int) *world {
	for i := run; i < len(w.runs); i++ {
		w.runs[i].Agent, w.runs[i].ID = agent, crony.OccurrenceRunID("U", w.runs[i].ScheduledAt, agent)
	}
	for i := stretch; i < len(w.stretches); i++ {
		w.stretches[i].Of = agent
	}
	return w
}

func (w *world) holder(agent, since, cursor string, generation int64) *world {
	w.Holders = append(w.Holders, state.Holder{Agent: agent, Assigned: true, Connected: true, Since: clock(since),
		Claim: crony.Claim{At: clock(cursor), Generation: generation}})
	return w
}

// TestModesInOneLedger: what came due while one agent had the job is everybody's, what comes due since is each one's own.
func TestModesInOneLedger(t *testing.T) {
	w := (&world{now: clock("09:20")}).define("09:00", "*/5 * * * *").define("09:07", "*/5 * * * *").each(2)
	w.ran(1, "09:05").ran(2, "09:10", "09:15").of("a1", 1, 0).holder("a1", "09:07", "09:15", 2)
	w.passed(2, 1, "09:15", "09:15", crony.EndMissed, "the agent was away").of("a2", 3, 0).holder("a2", "09:12", "09:15", 2)

	var got []string
	for _, e := range w.list(t, clock("09:00"), w.now, 100) {
		got = append(got, e.Agent+" "+texts([]crony.LedgerEntry{e})[0])
	}
	want := []string{"a1 09:05:00 1 ran [succeeded]", "a1 09:10:00 1 ran [succeeded]", "a1 09:15:00 1 ran [succeeded]",
		"a2 09:15:00 1 missed: the agent was away", "a1 09:20:00 1 open: its agent a1 is about to decide it",
		"a2 09:20:00 1 open: its agent a2 is about to decide it"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v := w.verify(t, clock("09:00"), w.now); v.Faulty != 0 || v.Expected != 6 || v.Ends[crony.EndRan] != 3 {
		t.Errorf("%+v", v)
	}
	if x := w.explain(t, "09:05"); x.Entry == nil || x.Run == nil || len(x.Agents) != 0 {
		t.Errorf("%+v", x)
	}
	if x := w.explain(t, "09:15"); x.Words != "backup was due at 2026-11-20T09:15:00Z on each of its 2 agents: ran on 1, missed on 1." {
		t.Errorf("%s", x.Words)
	}
	if x := w.explain(t, "09:25"); len(x.Agents) != 2 || x.Agents[0].End != crony.EndOpen {
		t.Errorf("%+v", x)
	}
	x, err := w.ledger(t).ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "backup", At: clock("09:10"), Agent: "a2"})
	if err != nil || x.Entry != nil || x.Words != "backup was due at 2026-11-20T09:10:00Z, and not on agent a2: it did not have the job then." {
		t.Errorf("%s, %v", x.Words, err)
	}
}

// TestManyAgentsInOneLedger: where there are more at one instant than a page holds they stay together, and none is told twice.
func TestManyAgentsInOneLedger(t *testing.T) {
	w := (&world{now: clock("10:00")}).define("08:00", "*/10 * * * *").each(1)
	w.passed(1, 6, "08:30", "09:20", crony.EndMissed, "away").of("b", 0, 0).holder("b", "08:25", "09:55", 1)
	for n := range 30 {
		agent := fmt.Sprintf("a%02d", n)
		w.holder(agent, "08:00", "09:59", 1)
		from := len(w.runs)
		w.ran(1, "08:10", "08:20", "08:30", "08:40", "08:50", "09:00", "09:10", "09:20", "09:30", "09:40", "09:50").of(agent, from, 1)
	}
	w.ran(1, "09:30", "09:40", "09:50").of("b", 30*11, 1)
	for _, limit := range []int{1, 7, 40, 100, crony.MaxLimit} {
		var ran, missed int64
		for _, e := range w.list(t, clock("08:00"), w.now, limit) {
			switch e.End {
			case crony.EndRan:
				ran += e.Count
			case crony.EndMissed:
				missed += e.Count
			}
		}
		if ran != 30*11+3 || missed != 6 {
			t.Errorf("in pages of %d: %d ran, %d missed", limit, ran, missed)
		}
	}
	if v := w.verify(t, clock("08:00"), w.now); v.Faulty != 0 || v.Ends[crony.EndRan] != 30*11+3 || v.Ends[crony.EndMissed] != 6 || v.Ends[crony.EndOpen] != 31 {
		t.Errorf("%+v", v)
	}
}
