package runlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
	"crony/internal/storetest"
)

func TestAppendInvalid(t *testing.T) {
	l := openTest(t, Options{})
	fact := func(change func(*crony.Fact)) crony.Fact {
		f := life(noon())[3]
		change(&f)
		return f
	}
	claim := func(change func(*crony.ClaimedFact)) crony.Fact {
		f := life(noon())[0]
		change(f.Claimed)
		return f
	}
	for name, f := range map[string]crony.Fact{
		"run":            fact(func(f *crony.Fact) { f.Run = "nonsense" }),
		"run after 9999": fact(func(f *crony.Fact) { f.Run = runAt(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }),
		"number 0":       fact(func(f *crony.Fact) { f.Seq = 0 }),
		"large number":   fact(func(f *crony.Fact) { f.Seq = crony.HandledSeq + 1 }),
		"end as handled": fact(func(f *crony.Fact) { f.Seq = crony.HandledSeq }),
		"handled as end": fact(func(f *crony.Fact) { f.Ended, f.Handled = nil, &crony.HandledFact{} }),
		"handled's text": fact(func(f *crony.Fact) {
			f.Seq, f.Ended, f.Handled = crony.HandledSeq, nil, &crony.HandledFact{Note: "\xff"}
		}),
		"moved to nobody":      fact(func(f *crony.Fact) { f.Ended, f.Moved = nil, &crony.MovedFact{Attempt: 2} }),
		"moved for no attempt": fact(func(f *crony.Fact) { f.Ended, f.Moved = nil, &crony.MovedFact{Agent: "a"} }),
		"result's attempt": fact(func(f *crony.Fact) {
			f.Ended, f.Result = nil, &crony.ResultFact{Attempt: -1, Data: []byte("1")}
		}),
		"time":           fact(func(f *crony.Fact) { f.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"empty":          fact(func(f *crony.Fact) { f.Ended = nil }),
		"two in one":     fact(func(f *crony.Fact) { f.Started = &crony.StartedFact{Attempt: 1} }),
		"claim too late": fact(func(f *crony.Fact) { f.Ended, f.Claimed = nil, life(noon())[0].Claimed }),
		"no claim first": fact(func(f *crony.Fact) { f.Seq = 1 }),
		"end":            fact(func(f *crony.Fact) { f.Ended.State = crony.Running }),
		"unknown end":    fact(func(f *crony.Fact) { f.Ended.State = "happy" }),
		"text":           fact(func(f *crony.Fact) { f.Ended.Reason = "\xff" }),
		"oversized":      fact(func(f *crony.Fact) { f.Ended.Reason = strings.Repeat("x", MaxFact) }),
		"attempt":        fact(func(f *crony.Fact) { f.Ended, f.Started = nil, &crony.StartedFact{} }),
		"not a number": fact(func(f *crony.Fact) {
			f.Ended, f.Exited = nil, &crony.ExitedFact{Attempt: 1, CPUSeconds: math.NaN()}
		}),
		"no job":         claim(func(c *crony.ClaimedFact) { c.Job = "" }),
		"long job":       claim(func(c *crony.ClaimedFact) { c.Job = strings.Repeat("x", maxName+1) }),
		"agent with NUL": claim(func(c *crony.ClaimedFact) { c.Agent = "a\x00b" }),
		"claim's text":   claim(func(c *crony.ClaimedFact) { c.By = "\xff" }),
	} {
		if err := l.Append(t.Context(), append(life(noon()), f), nil); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("fact, %s: %v, want invalid", name, err)
		}
	}
	ok := crony.Chunk{Run: runAt(noon()), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("x")}
	for name, change := range map[string]func(*crony.Chunk){
		"run":     func(c *crony.Chunk) { c.Run = "" },
		"attempt": func(c *crony.Chunk) { c.Attempt = 0 },
		"stream":  func(c *crony.Chunk) { c.Stream = "stdin" },
		"offset":  func(c *crony.Chunk) { c.Offset = -1 },
		"end":     func(c *crony.Chunk) { c.Offset = math.MaxInt64 },
		"empty":   func(c *crony.Chunk) { c.Data = nil },
		"large":   func(c *crony.Chunk) { c.Data = make([]byte, MaxChunk+1) },
	} {
		c := ok
		change(&c)
		if err := l.Append(t.Context(), life(noon()), []crony.Chunk{ok, c}); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("chunk, %s: %v, want invalid", name, err)
		}
	}
	if p, err := l.ListRuns(t.Context(), crony.RunQuery{}); err != nil || len(p.Items) > 0 {
		t.Errorf("refused appends left %+v, %v", p.Items, err)
	}
}

func TestAppendLargest(t *testing.T) {
	l := openTest(t, Options{})
	noise := make([]byte, MaxChunk) // does not compress
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	want := crony.Chunk{
		Run: runAt(noon()), Attempt: math.MaxInt32, Stream: crony.Stderr,
		Offset: math.MaxInt64 - MaxChunk, At: noon(), Data: noise,
	}
	mustAppend(t, l, life(noon()), []crony.Chunk{want})
	for got, err := range l.Output(t.Context(), runAt(noon()), false) {
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("the largest chunk: %v, %s", err, diff)
		}
	}
}

func TestConflict(t *testing.T) {
	l := openTest(t, Options{})
	facts := life(noon())
	mustAppend(t, l, facts[:3], nil)
	other := facts[2]
	other.At = other.At.Add(time.Second)
	err := l.Append(t.Context(), []crony.Fact{other, facts[3]}, nil)
	if crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), string(facts[0].Run)) {
		t.Errorf("another fact under the same number: %v, want a conflict that names the run", err)
	}
	want, _ := crony.Fold(facts)
	if got, err := l.Run(t.Context(), facts[0].Run); err != nil || !cmp.Equal(want, got) {
		t.Errorf("after a conflict: %v\n%s", err, cmp.Diff(want, got))
	}
	twice := life(noon().Add(time.Hour))
	changed := twice[1]
	changed.Started = &crony.StartedFact{Attempt: 9}
	if err := l.Append(t.Context(), append(twice, changed, changed), nil); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("two facts under one number in one append: %v, want a conflict", err)
	}
	zone := facts[0]
	zone.At = zone.At.In(time.FixedZone("", 3600))
	if err := l.Append(t.Context(), []crony.Fact{zone}, nil); err != nil {
		t.Errorf("the same instant in another zone: %v", err)
	}
}

func TestAppendCancelled(t *testing.T) {
	l := openTest(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := l.Append(ctx, life(noon()), nil); !errors.Is(err, cause) {
		t.Errorf("a cancelled append: %v, want its cause", err)
	}
}

// TestAppendDoesNotShare changes what was appended, as a caller may that reuses its buffers.
func TestAppendDoesNotShare(t *testing.T) {
	l := openTest(t, Options{})
	facts := life(noon())
	want, _ := crony.Fold(facts)
	given := life(noon())
	mustAppend(t, l, given[:3], nil)
	given[0].Claimed.Job, *given[2].Exited.ExitCode = "changed", 99
	mustAppend(t, l, facts[3:], nil)
	if got, err := l.Run(t.Context(), want.ID); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

func TestConcurrentAppends(t *testing.T) {
	l := openTest(t, Options{OpenDays: 1})
	const appenders, each = 8, 40
	var all sync.WaitGroup
	for a := range appenders {
		all.Go(func() {
			for n := range each {
				at := noon().Add(time.Duration(a*each+n)*time.Second + time.Duration(n%3)*24*time.Hour)
				for _, f := range life(at) {
					if err := l.Append(t.Context(), []crony.Fact{f}, nil); err != nil {
						t.Error(err)
					}
				}
				if r, err := l.Run(t.Context(), runAt(at)); err != nil || r.State != crony.Succeeded {
					t.Errorf("a run right after its append: %+v, %v", r, err)
				}
			}
		})
	}
	all.Wait()
	p, err := l.ListRuns(t.Context(), crony.RunQuery{Limit: crony.MaxLimit})
	if err != nil || len(p.Items) != appenders*each || l.Running() != 0 {
		t.Errorf("%d runs, %d go on, %v; want %d and 0", len(p.Items), l.Running(), err, appenders*each)
	}
}

// TestUnion appends the same records to two logs in different orders, with doubles and overlaps, and compares all that they
// then show, before and after they are opened again.
func TestUnion(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			facts, chunks := randomRecords(rng)
			dirs := []string{t.TempDir(), t.TempDir()}
			var views []string
			for _, dir := range dirs {
				l := openTest(t, Options{Dir: dir, OpenDays: 1 + rng.IntN(3)})
				shuffledAppends(t, rng, l, facts, chunks)
				views = append(views, view(t, l))
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				views = append(views, view(t, openTest(t, Options{Dir: dir})))
			}
			for _, v := range views[1:] {
				if diff := cmp.Diff(views[0], v); diff != "" {
					t.Fatalf("the logs differ:\n%s", diff)
				}
			}
		})
	}
}

func randomRecords(rng *rand.Rand) (facts []crony.Fact, chunks []crony.Chunk) {
	for n := range 12 {
		at := noon().Add(time.Duration(n*5) * time.Hour)
		own := storetest.Life(runAt(at), fmt.Sprintf("job-%d", n%3), fmt.Sprintf("a%d", n%2), crony.Succeeded)
		verdict := crony.Fact{
			Run: runAt(at), Seq: crony.VerdictSeq, At: at.Add(time.Hour), Ended: &crony.EndedFact{State: crony.Lost},
		}
		switch n % 4 {
		case 0:
			own = append(own, verdict)
		case 1:
			own = append(own[:2], verdict)
		case 2:
			own = own[:1+rng.IntN(len(own))]
		case 3:
			own = own[rng.IntN(len(own)):]
		}
		own = append(own, crony.Fact{Run: runAt(at), Seq: crony.CalleeSeq, At: at, Result: &crony.ResultFact{Data: []byte(`[1]`)}})
		if n%2 == 0 {
			own = append(own, (&crony.Handled{By: "alice", At: at.Add(time.Hour), Request: "r1"}).Fact(runAt(at)))
		}
		facts = append(facts, own...)
		text := []byte(strings.Repeat(fmt.Sprintf("line of %d\n", n), 40))
		for range 8 {
			from := rng.IntN(len(text))
			to := from + 1 + rng.IntN(len(text)-from)
			chunks = append(chunks, crony.Chunk{
				Run: runAt(at), Attempt: 1 + n%2, Stream: crony.Stdout, Offset: int64(from), At: at, Data: text[from:to],
			})
		}
	}
	return facts, chunks
}

func shuffledAppends(t *testing.T, rng *rand.Rand, l *Log, facts []crony.Fact, chunks []crony.Chunk) {
	t.Helper()
	facts, chunks = slices.Repeat(facts, 2), slices.Repeat(chunks, 2)
	rng.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
	rng.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
	for len(facts)+len(chunks) > 0 {
		f, c := min(len(facts), rng.IntN(9)), min(len(chunks), rng.IntN(9))
		mustAppend(t, l, facts[:f], chunks[:c])
		facts, chunks = facts[f:], chunks[c:]
	}
}

// view is all that a log shows, as text. Where chunks begin and end depends on the order in which they came; their bytes
// don't.
func view(t *testing.T, l *Log) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "running %d, on a1 %d\n", l.Running(), l.RunningOn("a1"))
	for _, job := range []string{"job-0", "job-1", "job-2", "job-3"} {
		r, ok := l.LastRun(job)
		fmt.Fprintln(&b, job, r.ID, ok)
	}
	p, err := l.ListRuns(t.Context(), crony.RunQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Items {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
		end := int64(0)
		for c, err := range l.Output(t.Context(), r.ID, false) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Offset != end {
				fmt.Fprintf(&b, "at %d/%d: ", c.Attempt, c.Offset)
			}
			b.Write(c.Data)
			end = c.End()
		}
	}
	return b.String()
}

// TestRecovery opens a log again while runs go on.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, Options{Dir: dir})
	claimed, running, ended := life(noon()), life(noon().Add(25*time.Hour)), life(noon().Add(50*time.Hour))
	mustAppend(t, l, slices.Concat(claimed[:1], running[:2], ended), nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir, OpenDays: 1})
	var want []crony.Run
	for _, facts := range [][]crony.Fact{claimed[:1], running[:2]} {
		r, _ := crony.Fold(facts)
		want = append(want, r)
	}
	byID := cmpopts.SortSlices(func(a, b crony.Run) bool { return a.ID < b.ID })
	if diff := cmp.Diff(want, l.Unfinished("a1"), byID); diff != "" {
		t.Errorf("unfinished (-want +got):\n%s", diff)
	}
	if l.Running() != 2 || l.RunningOn("a1") != 2 || l.RunningOn("a2") != 0 || len(l.Unfinished("a2")) != 0 {
		t.Errorf("running %d, on a1 %d, on a2 %d", l.Running(), l.RunningOn("a1"), l.RunningOn("a2"))
	}
	mustAppend(t, l, slices.Concat(claimed, running), nil)
	if l.Running() != 0 || len(l.Unfinished("a1")) != 0 {
		t.Errorf("after they ended: running %d, unfinished %v", l.Running(), l.Unfinished("a1"))
	}
	verdict := crony.Fact{Run: claimed[0].Run, Seq: crony.VerdictSeq, At: noon(), Ended: &crony.EndedFact{State: crony.Lost}}
	mustAppend(t, l, []crony.Fact{verdict}, nil)
	if r, err := l.Run(t.Context(), claimed[0].Run); err != nil || r.State != crony.Succeeded {
		t.Errorf("a verdict on an ended run makes it %+v, %v", r, err)
	}
}
