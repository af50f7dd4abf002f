package runlog

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"crony"
	"crony/internal/storetest"
)

// TestDayBoundary has runs on both sides of a midnight; their records arrive in another order, and all on one day.
func TestDayBoundary(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, Options{Dir: dir, OpenDays: 1})
	midnight := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	times := []time.Time{midnight.Add(time.Millisecond), midnight, midnight.Add(-time.Millisecond), midnight.Add(-time.Hour)}
	var want []crony.RunID
	var facts []crony.Fact
	for _, at := range times {
		want = append(want, runAt(at))
		facts = append(facts, life(at)...)
	}
	slices.Reverse(facts)
	mustAppend(t, l, facts, nil)
	for _, name := range []string{"runs-2026-11-21.db", "runs-2026-11-22.db"} {
		if _, err := os.Stat(dir + "/" + name); err != nil {
			t.Error(err)
		}
	}
	for limit := 1; limit <= 5; limit++ {
		var got []crony.RunID
		q := crony.RunQuery{Job: "backup", Limit: limit}
		for {
			p, err := l.ListRuns(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Items {
				got = append(got, r.ID)
			}
			if q.Cursor = p.Next; q.Cursor == "" {
				break
			}
		}
		if !slices.Equal(want, got) {
			t.Errorf("by %d: %v, want %v", limit, got, want)
		}
	}
}

// TestManyDays pages through more days than one page may cost, for a job that ran on the oldest only.
func TestManyDays(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, Options{Dir: dir, OpenDays: 3})
	const total = 2*pageBudget/dayCost + 10
	for n := range total {
		mustAppend(t, l, life(noon().AddDate(0, 0, n)), nil)
	}
	rare := crony.OccurrenceRunID("rare", noon(), "")
	mustAppend(t, l, storetest.Life(rare, "rare", "a2", crony.Failed), nil)
	for _, q := range []crony.RunQuery{
		{Job: "rare"}, {Agent: "a2"}, {State: crony.Failed}, {Job: "rare", State: crony.Failed},
	} {
		var got []crony.RunID
		pages := 0
		for ; pages == 0 || q.Cursor != ""; pages++ {
			p, err := l.ListRuns(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Items {
				got = append(got, r.ID)
			}
			q.Cursor = p.Next
		}
		if !slices.Equal(got, []crony.RunID{rare}) || pages != 3 {
			t.Errorf("%+v: %v in %d pages, want %v in 3", q, got, pages, rare)
		}
	}
	if open := len(l.days.opened); open > 3 {
		t.Errorf("%d day files are open, want at most 3", open)
	}
	if r, ok := l.LastRun("rare"); !ok || r.ID != rare {
		t.Errorf("last run: %v, %v", r.ID, ok)
	}
}

// TestBoundedWork filters many runs of a day down to none: no page looks at more than it may.
func TestBoundedWork(t *testing.T) {
	l := openTest(t, Options{})
	const total = pageBudget + pageBudget/2
	fill(t, l, total)
	mustAppend(t, l, storetest.Life(crony.OccurrenceRunID("x", noon(), ""), "job-0", "a9", crony.Succeeded), nil)
	q, pages, found := crony.RunQuery{Longer: time.Hour}, 0, 0
	for ; pages == 0 || q.Cursor != ""; pages++ {
		p, err := l.ListRuns(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		found += len(p.Items)
		q.Cursor = p.Next
	}
	if pages != 2 || found != 0 {
		t.Errorf("%d runs in %d pages, want none in 2", found, pages)
	}
}

// fill stores runs of a hundred jobs and one agent, a millisecond apart.
func fill(tb testing.TB, l *Log, total int) {
	tb.Helper()
	var facts []crony.Fact
	for n := range total {
		at := noon().Add(time.Duration(n) * time.Millisecond)
		own := storetest.Life(runAt(at), fmt.Sprintf("job-%d", n%100), "a0", crony.Succeeded)
		facts = append(facts, own...)
		if len(facts) >= 2000 || n == total-1 {
			mustAppend(tb, l, facts, nil)
			facts = facts[:0]
		}
	}
}

// TestPagesWhileRunsCome reads pages while another goroutine adds runs, newer ones and older ones.
func TestPagesWhileRunsCome(t *testing.T) {
	l := openTest(t, Options{})
	const total = 500
	fill(t, l, total)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			at := noon().Add(time.Duration(total*(n%2)+n) * time.Millisecond)
			facts := storetest.Life(crony.OccurrenceRunID("other", at, ""), "other", "a1", crony.Succeeded)
			if err := l.Append(context.WithoutCancel(t.Context()), facts, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 20 {
		seen, last := map[crony.RunID]int{}, crony.RunID("~")
		q := crony.RunQuery{Limit: 37}
		for first := true; first || q.Cursor != ""; first = false {
			p, err := l.ListRuns(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Items {
				if r.ID >= last {
					t.Fatalf("%s comes after %s", r.ID, last)
				}
				last = r.ID
				seen[r.ID]++
			}
			q.Cursor = p.Next
		}
		for n := range total {
			if id := runAt(noon().Add(time.Duration(n) * time.Millisecond)); seen[id] != 1 {
				t.Fatalf("run %d was seen %d times", n, seen[id])
			}
		}
	}
	close(stop)
	<-stopped
}

func TestLastRun(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, Options{Dir: dir})
	if r, ok := l.LastRun("backup"); ok {
		t.Errorf("the last of no runs: %+v", r)
	}
	want := func(at time.Time) {
		t.Helper()
		if r, ok := l.LastRun("backup"); !ok || r.ID != runAt(at) {
			t.Errorf("last run %v of %v, want %v", r.ID, r.ID.Time(), at)
		}
	}
	later, earlier := noon().Add(48*time.Hour), noon()
	mustAppend(t, l, life(later)[1:], nil)
	if r, ok := l.LastRun("backup"); ok {
		t.Errorf("a run without its first fact: %+v", r)
	}
	mustAppend(t, l, life(later)[:1], nil)
	want(later)
	mustAppend(t, l, life(earlier), nil)
	want(later)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir})
	mustAppend(t, l, life(earlier.Add(time.Hour)), nil) // known before the files are asked, and not the newest
	want(later)
	mustAppend(t, l, life(later.Add(time.Hour)), nil)
	want(later.Add(time.Hour))
}

// TestLogged tells how much a called service has logged of a run, of which its agent saw nothing.
func TestLogged(t *testing.T) {
	l := openTest(t, Options{})
	var ids []crony.RunID
	var facts []crony.Fact
	for i, callback := range []string{"", "hash", "hash", "hash"} { // each has the next one's chunks after its own
		at := noon().Add(time.Duration(i) * time.Second)
		id := runAt(at)
		ids = append(ids, id)
		facts = append(facts, life(at)[0],
			crony.Fact{Run: id, Seq: 2, At: at, Started: &crony.StartedFact{Attempt: 1, Callback: callback}},
			crony.Fact{Run: id, Seq: 3, At: at, Exited: &crony.ExitedFact{Attempt: 1, StdoutBytes: 1}},
			crony.Fact{Run: id, Seq: 4, At: at, Waiting: &crony.WaitingFact{Attempt: 1, Until: at}},
			crony.Fact{Run: id, Seq: 5, At: at, Started: &crony.StartedFact{Attempt: 2, Callback: callback}})
	}
	chunk := func(i, attempt int, stream crony.Stream, offset int64, text string) crony.Chunk {
		return crony.Chunk{Run: ids[i], Attempt: attempt, Stream: stream, Offset: offset, At: noon(), Data: []byte(text)}
	}
	mustAppend(t, l, facts, []crony.Chunk{
		chunk(0, 1, crony.Stdout, 0, "longer than told"),
		chunk(1, 1, crony.Stdout, 0, "first"), chunk(1, 1, crony.Stdout, 5, "second"), chunk(1, 1, crony.Stderr, 0, "HTTP 202; and so on"),
		chunk(1, 2, crony.Stderr, 0, "HTTP 202"),
		chunk(2, 2, crony.Stdout, 100, "after a gap"),
	})
	for i, want := range [][2]int64{{1, 0}, {11, 0}, {1, 111}, {1, 0}} {
		run, err := l.Run(t.Context(), ids[i])
		if err != nil || len(run.Attempts) != 2 {
			t.Fatal(run, err)
		}
		if got := [2]int64{run.Attempts[0].StdoutBytes, run.Attempts[1].StdoutBytes}; got != want {
			t.Errorf("run %d: %v, want %v", i, got, want)
		}
	}

	k, err := parseID(ids[2])
	if err != nil {
		t.Fatal(err)
	}
	damageChunk(t, l, k, chunkRef{attempt: 2, stream: 1, offset: 100}, func(value []byte) { value[0]++ })
	if run, err := l.Run(t.Context(), ids[2]); err != nil || run.Attempts[1].StdoutBytes != 0 {
		t.Errorf("with a chunk that can't be read: %+v, %v", run, err)
	}
}

func TestSubscribe(t *testing.T) {
	l := openTest(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	changes := l.Subscribe(ctx)
	facts := life(noon())
	for n := range facts {
		mustAppend(t, l, facts[:n+1], nil)
	}
	mustAppend(t, l, facts, nil)
	for _, state := range []crony.RunState{crony.Claimed, crony.Running, crony.Running, crony.Succeeded} {
		if c := <-changes; c.Reset || c.Run.State != state {
			t.Errorf("change %+v, want state %s", c, state)
		}
	}
	cancel()
	for c := range changes {
		t.Errorf("one change too many: %+v", c)
	}
}

// TestSlowSubscriber does not read until far more has changed than may wait for it.
func TestSlowSubscriber(t *testing.T) {
	l := openTest(t, Options{})
	changes := l.Subscribe(t.Context())
	fill(t, l, 3*listenerBuffer)
	for range listenerBuffer - 1 {
		if c := <-changes; c.Reset {
			t.Fatal("a reset before the buffer was full")
		}
	}
	mustAppend(t, l, life(noon().Add(time.Hour)), nil)
	if c := <-changes; !c.Reset {
		t.Fatalf("%+v, want a reset", c)
	}
	last := life(noon().Add(2 * time.Hour))
	mustAppend(t, l, last, nil)
	if c := <-changes; c.Reset || c.Run.ID != last[0].Run {
		t.Errorf("after the reset: %+v, want run %s", c, last[0].Run)
	}
}

// TestLastRunIsOfTheJob holds that a run which prepared a host is listed, by its trigger and the script's name, and is no job's
// last run: neither while it is remembered nor when the files are asked.
func TestLastRunIsOfTheJob(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, Options{Dir: dir})
	own, prepared := crony.OccurrenceRunID("x", noon(), ""), crony.OccurrenceRunID("y", noon().Add(time.Minute), "")
	life := storetest.Life(prepared, "job", "a1", crony.Succeeded)
	life[0].Claimed.Trigger, life[0].Claimed.By = crony.ByPrepare, "tools"
	alone := storetest.Life(crony.OccurrenceRunID("z", noon(), ""), "other", "a1", crony.Succeeded)
	alone[0].Claimed.Trigger = crony.ByPrepare
	mustAppend(t, l, storetest.Life(own, "job", "a1", crony.Failed), nil)
	mustAppend(t, l, life, nil)
	mustAppend(t, l, alone, nil)
	for range 2 {
		if r, ok := l.LastRun("job"); !ok || r.ID != own {
			t.Errorf("last run: %v, %v; want %v", r.ID, ok, own)
		}
		if r, ok := l.LastRun("other"); ok {
			t.Errorf("a job that only was prepared for ran last as %v", r.ID)
		}
		p, err := l.ListRuns(t.Context(), crony.RunQuery{Job: "job", Trigger: crony.ByPrepare})
		if err != nil || len(p.Items) != 1 || p.Items[0].ID != prepared || p.Items[0].By != "tools" {
			t.Errorf("runs that prepared: %+v, %v", p.Items, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, Options{Dir: dir})
	}
}
