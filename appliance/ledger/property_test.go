package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"crony"

	"github.com/google/go-cmp/cmp"
)

// The property: the ledger of a job that is edited, paused, claimed ahead, away from its agent and kept by calendars verifies
// clean, whole or in parts; a page holds what a larger one holds; without any one of its records there is a gap of just what
// that record alone told; and a run that is there twice is a double.
func TestLedgerAgainstAHistory(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 15
	}
	for i := range rounds {
		sim := newSimulation(uint64(i))
		sim.live()
		sim.portion = []int{0, 10, 60}[i%3]
		checkClean(t, sim)
		checkPages(t, sim)
		checkLosses(t, sim)
		if t.Failed() {
			t.Fatalf("round %d: %d generations, %d runs, %d stretches, the claim %+v", i, len(sim.Definitions), len(sim.runs), len(sim.stretches), sim.Claim)
		}
	}
}

func checkClean(t *testing.T, sim *simulation) {
	t.Helper()
	from := clock("08:00")
	whole := sim.verify(t, from, sim.now)
	if whole.Faulty != 0 || !whole.Complete || whole.Ends[crony.EndUnrecorded] != 0 {
		t.Errorf("the ledger does not verify clean: %+v", whole)
	}
	middle := from.Add(time.Duration(sim.Int64N(int64(sim.now.Sub(from)))))
	first, second := sim.verify(t, from, middle), sim.verify(t, middle.Add(1), sim.now)
	if first.Faulty+second.Faulty != 0 || first.Expected+second.Expected != whole.Expected {
		t.Errorf("parted at %s it is %+v and %+v, whole %+v", middle, first, second, whole)
	}
	for _, end := range whole.Ends {
		whole.Expected -= end
	}
	if whole.Expected != 0 {
		t.Errorf("%d occurrences have no end", whole.Expected)
	}
}

func checkPages(t *testing.T, sim *simulation) {
	t.Helper()
	from := clock("08:00")
	all := sim.list(t, from, sim.now, crony.MaxLimit)
	if diff := cmp.Diff(texts(all), texts(sim.list(t, from, sim.now, 1+sim.IntN(5)))); diff != "" {
		t.Errorf("in small pages (-large +small)\n%s", diff)
	}
	if !slices.IsSortedFunc(all, func(a, b crony.LedgerEntry) int { return a.From.Compare(b.From) }) {
		t.Errorf("the list is not in order: %v", texts(all))
	}
	for _, e := range all {
		if e.Count < 1 || e.To.Before(e.From) || e.Count == 1 != e.From.Equal(e.To) || e.End == "" {
			t.Errorf("the list has %+v", e)
		}
	}
}

// checkLosses takes some of the records away, one at a time, or doubles them.
func checkLosses(t *testing.T, sim *simulation) {
	t.Helper()
	runs, stretches := sim.runs, sim.stretches
	clean := sim.verify(t, clock("08:00"), sim.now)
	for _, i := range sim.some(len(runs)) {
		sim.runs = slices.Delete(slices.Clone(runs), i, i+1)
		checkGap(t, sim, []time.Time{runs[i].ScheduledAt})
		again := runs[i]
		again.ID = "00000000000000000000000000"
		sim.runs = append(slices.Clone(runs), again)
		if v := sim.verify(t, clock("08:00"), sim.now); v.Expected != clean.Expected || v.Faulty != 1 || v.Faults[0].Kind != crony.FaultDouble || !v.Faults[0].At.Equal(again.ScheduledAt) {
			t.Errorf("with two runs at %s: %+v", again.ScheduledAt, v.Faults)
		}
	}
	sim.runs = runs
	for _, i := range sim.some(len(stretches)) {
		sim.stretches = slices.Delete(slices.Clone(stretches), i, i+1)
		checkGap(t, sim, sim.held[stretches[i].From])
	}
	sim.stretches = stretches
}

// some returns a few of the numbers below n.
func (s *simulation) some(n int) []int {
	list := s.Perm(n)
	return list[:min(n, 8)]
}

// checkGap looks for a gap of those of the instants that are told of once.
func checkGap(t *testing.T, sim *simulation, lost []time.Time) {
	t.Helper()
	var want int64
	for _, at := range lost {
		if sim.named[at] && sim.records[at] == 1 {
			want++
		}
	}
	v := sim.verify(t, clock("08:00"), sim.now)
	if got := v.Ends[crony.EndUnrecorded]; got != want || (v.Faulty > 0) != (want > 0) {
		t.Errorf("without what told of %v: %d are not recorded, want %d: %+v", lost, got, want, v.Faults)
	}
	for _, f := range v.Faults {
		if f.Kind != crony.FaultGap {
			t.Errorf("without what told of %v: %+v", lost, f)
		}
	}
}

// simulation lives a job's life, as agents and servers do it, by the words of the contract.
type simulation struct {
	world
	*rand.Rand
	cursor  time.Time
	records map[time.Time]int  // how many tell of an instant
	named   map[time.Time]bool // by the schedule in force
	held    map[time.Time][]time.Time
	agent   string    // whose own life it is, of a job of mode each
	since   time.Time // when it began to have that job
}

func newSimulation(seed uint64) *simulation {
	s := &simulation{Rand: rand.New(rand.NewPCG(seed, 5)), cursor: clock("08:00"), records: map[time.Time]int{}, named: map[time.Time]bool{},
		held: map[time.Time][]time.Time{}}
	s.History, s.now = historyOf("a1"), clock("14:00").Add(time.Duration(s.IntN(3600))*time.Second)
	at := clock("08:00")
	for i := 0; i == 0 || s.IntN(5) > 0 && at.Before(s.now); i++ {
		s.change(at)
		at = at.Add(time.Duration(1+s.IntN(7000)) * time.Second / 2)
	}
	return s
}

// change makes a new generation: paused, of another schedule, with another calendar, or with nothing that matters changed.
func (s *simulation) change(at time.Time) {
	s.define("08:00", pick(s.Rand, "*/5 * * * *", "*/7 * * * *", "30 */3 9-12 * * *", "0 * * * *", "*/40 * * * * *"), func(d *crony.Definition) {
		d.UpdatedAt, d.PlanSince = at, at
		switch n := len(s.Definitions); {
		case n > 0 && s.IntN(4) == 0:
			last := s.Definitions[n-1]
			d.PlanSince, d.Job, d.Calendars = last.PlanSince, last.Job, last.Calendars
			return
		case s.IntN(3) == 0:
			d.Job.Paused = true
		}
		if s.IntN(3) == 0 {
			from := clock("08:00").Add(time.Duration(s.IntN(6*3600)) * time.Second)
			d.Calendars = []crony.Calendar{{Name: "works", Blackouts: []crony.Blackout{{From: from, To: from.Add(40 * time.Minute)}}}}
			d.Job.Calendars = []crony.CalendarUse{{Name: "works", On: crony.CalendarSkip}}
		}
	})
}

// live decides all that is decided by now: each generation up to the last one that an agent was told of.
func (s *simulation) live() {
	last := len(s.Definitions) - 1
	told := last
	if s.Definitions[last].Job.Paused || s.IntN(3) == 0 {
		told = max(last-1-s.IntN(2), 0)
	}
	for i := range s.Definitions {
		d := &s.Definitions[i]
		until := s.now
		if i < last {
			until = s.Definitions[i+1].UpdatedAt
		}
		if !s.since.Before(until) {
			told = max(told, i+1)
			continue
		}
		begin := d.UpdatedAt
		if s.since.After(begin) {
			begin = s.since
		}
		for at := d.Plan().Next(begin); !at.After(until); at = d.Plan().Next(at) {
			s.named[at] = true
		}
		if i <= told && !d.Job.Paused {
			s.decide(d, until, i == told)
		}
		if i < told && !s.alike(i) {
			s.settle(i, until)
		}
	}
	s.Claim = crony.Claim{At: s.cursor, Generation: int64(told + 1)}
}

// alike says whether the next definition comes due as the i-th.
func (s *simulation) alike(i int) bool {
	return s.Definitions[i+1].PlanSince.Equal(s.Definitions[i].PlanSince)
}

// decide is the agent's part: it runs, or passes over, what comes due up to an instant or until it goes away.
func (s *simulation) decide(d *crony.Definition, until time.Time, last bool) {
	plan := d.Plan()
	for s.IntN(40) > 0 {
		at := plan.Next(s.cursor)
		if at.After(until) {
			break
		}
		if s.IntN(6) > 0 {
			s.run(d, at)
			continue
		}
		to := at
		for range s.IntN(4) {
			if next := plan.Next(to); !next.After(until) {
				to = next
			}
		}
		s.pass(d, s.cursor, to, crony.EndMissed)
		if s.IntN(3) == 0 {
			s.late(d, at)
		}
	}
	if at := plan.Next(s.cursor); !last && at.After(until) && at.Before(until.Add(time.Minute)) && s.IntN(2) == 0 {
		s.run(d, at) // claimed ahead of the change
	}
}

// settle is the server's part: it passes over what the i-th definition left, and what the next one names up to a cursor that
// is ahead of it.
func (s *simulation) settle(i int, until time.Time) {
	d, next := &s.Definitions[i], &s.Definitions[i+1]
	end := crony.EndMissed
	if d.Job.Paused {
		end = crony.EndSkipped
	}
	if s.cursor.Before(until) {
		s.pass(d, s.cursor, until, end)
		return
	}
	if next.Job.Paused {
		end = crony.EndSkipped
	}
	cursor := s.cursor
	s.pass(next, until, cursor.Add(-1), end)
	s.cursor = cursor
}

func (s *simulation) run(d *crony.Definition, at time.Time) {
	s.late(d, at)
	s.cursor = at
}

// late adds a run that was reported after its instant was passed over.
func (s *simulation) late(d *crony.Definition, at time.Time) {
	run := runOf("U", d.Generation, at)
	if s.agent != "" {
		run.ID, run.Agent = crony.OccurrenceRunID("U", at, s.agent), s.agent
	}
	s.runs = append(s.runs, run)
	s.records[at]++
}

func (s *simulation) pass(d *crony.Definition, after, until time.Time, end crony.End) {
	s.cursor = until
	n, first, last := d.Plan().Count(after, until)
	if n == 0 {
		return
	}
	s.stretches = append(s.stretches, crony.Stretch{Job: "backup", JobUID: "U", Of: s.agent, Generation: d.Generation, From: first, To: last, Count: n, End: end,
		Reason: fmt.Sprintf("passed over at %s", until.Format(time.TimeOnly))})
	for at := first; !at.After(last); at = d.Plan().Next(at) {
		s.held[first] = append(s.held[first], at)
		s.records[at]++
	}
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }
