package runlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// history is runs of all sorts over three days, as they were appended: some go on, some lost ones were corrected.
type history struct {
	rng  *rand.Rand
	runs map[crony.RunID][]crony.Fact
}

func newHistory(seed uint64) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 1)), runs: map[crony.RunID][]crony.Fact{}}
}

func (h *history) claim() crony.Fact {
	rng := h.rng
	at := noon().Add(-24 * time.Hour).Add(time.Duration(rng.IntN(3*24*60*60*1000)) * time.Millisecond)
	job := rng.IntN(6) * rng.IntN(6)
	id := crony.OccurrenceRunID(fmt.Sprint(rng.Uint64()), at, "")
	c := &crony.ClaimedFact{
		Job: fmt.Sprint("job-", job), JobUID: fmt.Sprint("uid-", job), Group: fmt.Sprint("group-", job%3),
		Agent: fmt.Sprint("a", rng.IntN(4)), Trigger: []crony.Trigger{crony.BySchedule, crony.ByHand}[rng.IntN(2)],
		ScheduledAt: at.Add(time.Duration(rng.IntN(1000)) * time.Microsecond), Epoch: 1,
	}
	if rng.IntN(2) == 0 {
		c.Labels = map[string]string{"team": fmt.Sprint(rng.IntN(3)), "tier": fmt.Sprint(rng.IntN(2))}
	}
	c.Handle = rng.IntN(3) == 0
	return crony.Fact{Run: id, Seq: 1, At: at, Claimed: c}
}

// took is from microseconds to days.
func (h *history) took() time.Duration {
	return time.Duration(1+h.rng.IntN(1000)) * time.Duration(int64(1)<<h.rng.IntN(38))
}

// grow makes some runs, lets others go on, and returns the facts that are new, in some order.
func (h *history) grow(n int) (facts []crony.Fact) {
	for range n {
		f := h.claim()
		id, took, ends := f.Run, h.took(), crony.Skipped.Allowed()[3:] // not those of runs that go on
		own := []crony.Fact{f}
		if h.rng.IntN(8) > 0 {
			own = append(own, crony.Fact{Run: id, Seq: 2, At: f.At, Started: &crony.StartedFact{Attempt: 1}})
			exit := &crony.ExitedFact{Attempt: 1, CPUSeconds: float64(h.rng.IntN(1e6)) / 1e6}
			own = append(own, crony.Fact{Run: id, Seq: 3, At: f.At.Add(took), Exited: exit})
		}
		own = append(own, crony.Fact{
			Run: id, Seq: 4, At: f.At.Add(took), Ended: &crony.EndedFact{State: crony.RunState(ends[h.rng.IntN(len(ends))])},
		})
		if h.rng.IntN(3) > 0 {
			result := &crony.ResultFact{Attempt: h.rng.IntN(2), Data: []byte(`{"rows":3}`)}
			own = append(own, crony.Fact{Run: id, Seq: crony.CalleeSeq, At: f.At.Add(took), Result: result})
			own[len(own)-1], own[len(own)-2] = own[len(own)-2], own[len(own)-1] // the end is the last, for what follows
		}
		verdict := crony.Fact{
			Run: id, Seq: crony.VerdictSeq, At: f.At.Add(2 * took), Ended: &crony.EndedFact{State: crony.Lost},
		}
		switch h.rng.IntN(5) {
		case 0: // goes on
			own = own[:len(own)-1]
		case 1: // lost, and maybe corrected later
			own = append(own[:1+h.rng.IntN(len(own)-1)], verdict)
		}
		h.runs[id] = own
		facts = append(facts, own...)
	}
	for id, own := range h.runs {
		last := own[len(own)-1]
		if last.Seq == crony.VerdictSeq && h.rng.IntN(4) == 0 {
			end := crony.Fact{Run: id, Seq: 4, At: last.At.Add(-1), Ended: &crony.EndedFact{State: crony.Succeeded}}
			h.runs[id] = append(own, end)
			facts = append(facts, end)
		}
	}
	h.rng.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
	return facts
}

// all returns the runs, the newest first.
func (h *history) all() (runs []crony.Run) {
	for _, facts := range h.runs {
		if r, ok := crony.Fold(facts); ok {
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b crony.Run) int { return -cmpID(a.ID, b.ID) })
	return runs
}

func cmpID(a, b crony.RunID) int {
	if a < b {
		return -1
	}
	return 1
}

// query is a query of some conditions.
func (h *history) query() (q crony.RunQuery) {
	rng := h.rng
	some := func(n int) bool { return rng.IntN(n) == 0 }
	if some(3) {
		q.Job = fmt.Sprint("job-", rng.IntN(6)*rng.IntN(6))
	}
	if some(3) {
		q.Agent = fmt.Sprint("a", rng.IntN(5))
	}
	if some(3) {
		q.State = crony.RunState(crony.Lost.Allowed()[rng.IntN(9)])
	}
	if some(3) {
		q.Group = fmt.Sprint("group-", rng.IntN(4))
	}
	if some(4) {
		q.Trigger = []crony.Trigger{crony.BySchedule, crony.ByHand, crony.ByReboot}[rng.IntN(3)]
	}
	if some(4) {
		q.Labels = map[string]string{"team": fmt.Sprint(rng.IntN(3))}
	}
	if some(4) {
		q.From = noon().Add(-24 * time.Hour).Add(time.Duration(rng.IntN(48*60)) * time.Minute)
	}
	if some(4) {
		q.To = noon().Add(-24 * time.Hour).Add(time.Duration(rng.IntN(3*24*60*60)) * time.Second)
	}
	if some(4) {
		q.Longer = h.took()
	}
	if some(4) {
		q.Shorter = h.took()
	}
	q.ToHandle = some(4)
	q.Limit = 1 + rng.IntN(40)
	return q
}

// selected says, as plainly as can be, whether a query selects a run.
func selected(q *crony.RunQuery, r *crony.Run, now time.Time) bool {
	for key, value := range q.Labels {
		if r.Labels[key] != value {
			return false
		}
	}
	started, ended := !r.StartedAt.IsZero(), r.State.Ended()
	took := now.Sub(r.StartedAt)
	if ended {
		took = r.EndedAt.Sub(r.StartedAt)
	}
	if q.ToHandle && (!ended || !r.HandleResult || r.Result == nil || r.Handled != nil) {
		return false
	}
	return (q.Job == "" || r.Job == q.Job) && (q.Agent == "" || r.Agent == q.Agent) && (q.State == "" || r.State == q.State) &&
		(q.Group == "" || r.Group == q.Group) && (q.Trigger == "" || r.Trigger == q.Trigger) &&
		(q.From.IsZero() || !r.ScheduledAt.Before(q.From)) && (q.To.IsZero() || r.ScheduledAt.Before(q.To)) &&
		(q.Longer == 0 || started && took >= q.Longer) && (q.Shorter == 0 || started && ended && took < q.Shorter)
}

// TestListAgainstAModel holds pages and counts of all sorts of queries against looking at everything, while runs come and
// change, and while some of them are pending and some are not.
func TestListAgainstAModel(t *testing.T) {
	for _, settle := range []int{1, 50, 1 << 20} {
		t.Run(fmt.Sprint("settled at ", settle), func(t *testing.T) {
			h := newHistory(uint64(settle))
			l := openTest(t, Options{settle: settle, OpenDays: 2})
			now := noon().Add(100 * time.Hour)
			l.now = func() time.Time { return now }
			for range 4 {
				mustAppend(t, l, h.grow(150), nil)
				all := h.all()
				for range 80 {
					q := h.query()
					var want []crony.Run
					for i := range all {
						if selected(&q, &all[i], now) {
							want = append(want, all[i])
						}
					}
					wantPages(t, l, q, want)
				}
			}
		})
	}
}

func wantPages(t *testing.T, l *Log, q crony.RunQuery, want []crony.Run) {
	t.Helper()
	var got []crony.Run
	for pages := 0; pages == 0 || q.Cursor != ""; pages++ {
		q.Count = pages == 0
		p, err := l.ListRuns(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Count && (p.Count == nil || p.Count.Runs != int64(len(want)) || p.Count.More) || !q.Count && p.Count != nil {
			t.Errorf("%+v: counted %+v, want %d", q, p.Count, len(want))
		}
		got = append(got, p.Items...)
		q.Cursor = p.Next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%+v (-want +got):\n%s", q, diff)
	}
}

// TestCountStops counts more than may be counted one by one.
func TestCountStops(t *testing.T) {
	l := openTest(t, Options{})
	fill(t, l, 3000)
	s, err := newSelection(crony.RunQuery{Longer: time.Millisecond}, noon())
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.countRuns(t.Context(), s, countBudget)
	if err != nil || n.Runs != 3000 || n.More {
		t.Errorf("%+v, %v, want all 3000", n, err)
	}
	n, err = l.countRuns(t.Context(), s, dayCost+100)
	if err != nil || n.Runs == 0 || n.Runs > 100 || !n.More {
		t.Errorf("with a budget of 100 runs: %+v, %v", n, err)
	}
}
