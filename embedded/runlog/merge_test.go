package runlog

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
	"crony/internal/storetest"
)

// variants are records of which some differ in one place: what servers may come to hold after all that can go wrong.
func variants(rng *rand.Rand) Records {
	var r Records
	for n := range 10 {
		at := noon().Add(time.Duration(rng.IntN(3*24*60)) * time.Minute)
		job := fmt.Sprint("job-", n%3)
		id := crony.OccurrenceRunID("uid-"+job, at, "")
		own := storetest.Life(id, job, fmt.Sprint("a", n%2), crony.Succeeded)
		own = append(own, crony.Fact{
			Run: id, Seq: crony.VerdictSeq, At: at.Add(time.Hour), Ended: &crony.EndedFact{State: crony.Lost},
		}, crony.Fact{
			Run: id, Seq: crony.CalleeSeq, At: at.Add(time.Minute), Progress: &crony.ProgressFact{Percent: 50, Message: "half"},
		}, crony.Fact{
			Run: id, Seq: crony.CalleeSeq + 1 + rng.IntN(2), At: at.Add(2 * time.Minute),
			Result: &crony.ResultFact{Data: []byte(`{"rows": 3}`)},
		}, (&crony.Handled{By: "alice", At: at.Add(2 * time.Hour), Request: "r1"}).Fact(id))
		for _, f := range own {
			for range 1 + rng.IntN(2) {
				r.Facts = append(r.Facts, varied(rng, f))
			}
		}
		for range 4 {
			text := strings.Repeat(fmt.Sprintf("line %d of %d\n", rng.IntN(2), n), 10)
			r.Chunks = append(r.Chunks, crony.Chunk{
				Run: id, Attempt: 1, Stream: crony.Stdout, Offset: int64(rng.IntN(3) * 50), At: at.Add(time.Duration(rng.IntN(2))),
				Data: []byte(text[:100+rng.IntN(2)]),
			})
		}
		s := stretchAt(job, "u", at, 1+rng.Int64N(3))
		s.DecidedAt = s.DecidedAt.Add(time.Duration(rng.IntN(2)))
		other := s
		other.Reason = "another"
		r.Stretches = append(r.Stretches, s, other)
	}
	return r
}

// varied returns a fact that may differ from f in when it was, or in what it says.
func varied(rng *rand.Rand, f crony.Fact) crony.Fact {
	f = ownFact(&f)
	f.At = f.At.Add(time.Duration(rng.IntN(2)) * time.Second)
	if rng.IntN(3) > 0 {
		return f
	}
	switch {
	case f.Handled != nil:
		f.Handled.By = fmt.Sprint("alice-", rng.IntN(2))
	case f.Claimed != nil:
		f.Claimed.Handle = rng.IntN(2) == 0
		f.Claimed.Job = fmt.Sprint("job-", rng.IntN(3))
		f.Claimed.Labels = map[string]string{"team": fmt.Sprint(rng.IntN(2)), "a": ""}
	case f.Started != nil:
		f.Started.PID = rng.IntN(3)
	case f.Exited != nil:
		f.Exited.CPUSeconds = rng.Float64()
	case f.Ended != nil:
		f.Ended.State = []crony.RunState{crony.Failed, crony.Killed}[rng.IntN(2)]
	case f.Progress != nil:
		f.Progress.Percent = 50 + rng.IntN(2)
	case f.Result != nil:
		f.Result.Data = fmt.Appendf(nil, "[%d]", rng.IntN(2))
	}
	return f
}

func pick[T any](rng *rand.Rand, list []T) (some []T) {
	for _, x := range list {
		if rng.IntN(2) == 0 {
			some = append(some, x)
		}
	}
	rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return some
}

// storeSome gives a log some of the records, in some order and some of them twice, by any of the ways in.
func storeSome(t *testing.T, rng *rand.Rand, l *Log, all Records) {
	t.Helper()
	for range 4 {
		b := encoded(t, l, Records{pick(rng, all.Facts), pick(rng, all.Chunks), pick(rng, all.Stretches)})
		var err error
		if rng.IntN(2) == 0 {
			err = l.Store(t.Context(), b)
		} else {
			err = l.Merge(t.Context(), b)
		}
		if err != nil && crony.CodeOf(err) != crony.Conflict {
			t.Fatal(err)
		}
	}
}

// encoded makes a batch that has travelled.
func encoded(t testing.TB, l *Log, r Records) *Batch {
	t.Helper()
	b, err := l.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Decode(slices.Clone(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// mergeInto gives one log all that another holds.
func mergeInto(t *testing.T, to, from *Log) {
	t.Helper()
	days, err := from.Days(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		var keys []string
		minutes, err := from.Minutes(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		for minute, sum := range minutes {
			if sum.Records == 0 {
				continue
			}
			items, err := from.Items(t.Context(), day, minute)
			if err != nil {
				t.Fatal(err)
			}
			keys = slices.AppendSeq(keys, maps.Keys(items))
		}
		for b, err := range from.Records(t.Context(), day, keys) {
			if err != nil {
				t.Fatal(err)
			}
			again, err := to.Decode(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Merge(t.Context(), again); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// whole is all that a log holds, with its sums.
func whole(t *testing.T, l *Log) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(view(t, l))
	for _, job := range []string{"job-0", "job-1", "job-2"} {
		fmt.Fprintln(&b, everyStretch(t, l, job, time.Time{}, noon().AddDate(1, 0, 0), 3))
	}
	days, err := l.Days(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&b, days)
	return b.String()
}

// TestMergeConverges splits records over servers, lets each tell others, and looks whether all come to hold the same.
func TestMergeConverges(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			all := variants(rng)
			dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
			var logs []*Log
			for _, dir := range dirs {
				l := openTest(t, Options{Dir: dir, OpenDays: 1 + rng.IntN(3), settle: 1 + rng.IntN(12)})
				storeSome(t, rng, l, all)
				wantSums(t, l)
				logs = append(logs, l)
			}
			pairs := [][2]int{{0, 1}, {1, 2}, {2, 0}, {1, 0}, {2, 1}, {0, 2}}
			for range 2 {
				rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
				for _, p := range pairs {
					mergeInto(t, logs[p[0]], logs[p[1]])
				}
			}
			for i, l := range logs {
				wantSums(t, l)
				if diff := cmp.Diff(whole(t, logs[0]), whole(t, l)); diff != "" {
					t.Fatalf("server %d holds other records than server 0:\n%s", i, diff)
				}
			}
			want := whole(t, logs[1])
			if err := logs[1].Close(); err != nil {
				t.Fatal(err)
			}
			again := openTest(t, Options{Dir: dirs[1]})
			wantSums(t, again)
			if diff := cmp.Diff(want, whole(t, again)); diff != "" {
				t.Errorf("opened again:\n%s", diff)
			}
			if err := again.Close(); err != nil { // so that nothing else writes
				t.Fatal(err)
			}
			settledIndex(t, dirs[1])
		})
	}
}

// TestMergeInAnyOrder gives servers all the records, each in an order and in parts of its own: they must hold the same.
func TestMergeInAnyOrder(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 4))
		all := variants(rng)
		var want string
		for n := range 3 {
			l := openTest(t, Options{settle: 1 + rng.IntN(12)})
			for range 3 {
				rest := encoded(t, l, Records{shuffled(rng, all.Facts), shuffled(rng, all.Chunks), shuffled(rng, all.Stretches)})
				if err := l.Merge(t.Context(), rest); err != nil {
					t.Fatal(err)
				}
				storeSome(t, rng, l, all)
			}
			got := whole(t, l)
			if want == "" {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, server %d:\n%s", seed, n, diff)
			}
		}
	}
}

func shuffled[T any](rng *rand.Rand, list []T) []T {
	list = slices.Clone(list)
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// TestStoreConflicts stores what differs from the stored, beside what does not.
func TestStoreConflicts(t *testing.T) {
	l := openTest(t, Options{})
	chunk := crony.Chunk{Run: runAt(noon()), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("one")}
	mustAppend(t, l, life(noon()), []crony.Chunk{chunk})
	other := chunk
	other.Data = []byte("two")
	if err := l.Append(t.Context(), nil, []crony.Chunk{other}); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("other output in the same place: %v, want a conflict", err)
	}
	shorter := chunk
	shorter.Data = []byte("on")
	mustAppend(t, l, nil, []crony.Chunk{chunk, shorter})
	longer := chunk
	longer.Data = []byte("one more")
	mustAppend(t, l, nil, []crony.Chunk{longer})
	if got := wrote(t, l, runAt(noon())); got != "one more" {
		t.Errorf("output %q", got)
	}
	wantSums(t, l)
}

func wrote(t *testing.T, l *Log, id crony.RunID) string {
	t.Helper()
	var b strings.Builder
	for c, err := range l.Output(t.Context(), id, false) {
		if err != nil {
			t.Fatal(err)
		}
		b.Write(c.Data)
	}
	return b.String()
}

// TestMergeMovesRun merges a claim that outweighs the one that a run has: it is then of another job and agent, everywhere.
func TestMergeMovesRun(t *testing.T) {
	for _, settle := range []int{1, 1000} {
		l := openTest(t, Options{settle: settle})
		facts := life(noon())
		mustAppend(t, l, facts[:2], nil)
		if r, ok := l.LastRun("backup"); !ok || r.Agent != "a1" {
			t.Errorf("before: %+v, %v", r, ok)
		}
		moved := ownFact(&facts[0])
		moved.At = moved.At.Add(-time.Second)
		moved.Claimed.Job, moved.Claimed.Agent = "restore", "a2"
		if err := l.Merge(t.Context(), encoded(t, l, Records{Facts: []crony.Fact{moved}})); err != nil {
			t.Fatal(err)
		}
		if r, ok := l.LastRun("backup"); ok {
			t.Errorf("the last run of the job that it was of: %+v", r)
		}
		if r, ok := l.LastRun("restore"); !ok || r.Agent != "a2" {
			t.Errorf("the last run of the job that it is of: %+v, %v", r, ok)
		}
		if l.RunningOn("a1") != 0 || l.RunningOn("a2") != 1 || l.Running() != 1 {
			t.Errorf("running on a1 %d, on a2 %d, in all %d", l.RunningOn("a1"), l.RunningOn("a2"), l.Running())
		}
		for q, want := range map[string]int{"backup": 0, "restore": 1} {
			p, err := l.ListRuns(t.Context(), crony.RunQuery{Job: q, Count: true})
			if err != nil || len(p.Items) != want || p.Count.Runs != int64(want) {
				t.Errorf("%s: %d runs, %+v, %v; want %d", q, len(p.Items), p.Count, err, want)
			}
		}
	}
}
