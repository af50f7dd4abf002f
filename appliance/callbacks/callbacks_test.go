package callbacks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/embedded/runlog"
)

const token = "the-token-of-the-call"

var (
	noon    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	errDies = errors.New("the process dies here")
)

// world is a server's run log, which is real, and what the cluster knows beside it. It can die after any step.
type world struct {
	*runlog.Log
	t       *testing.T
	now     time.Time
	answers map[crony.RunID]crony.Answer
	kills   map[crony.RunID]crony.KillOrder
	others  []crony.Fact // that only other servers have
	limit   crony.Size
	refusal error
	steps   int // until it dies; -1: never
	asked   int
}

// step does one thing that stays, unless the process has died before it. It dies after it, too, if it is the last.
func (w *world) step(do func() error) error {
	if w.steps == 0 {
		return errDies
	}
	err := do()
	if w.steps--; w.steps == 0 && err == nil {
		return errDies
	}
	return err
}

func (w *world) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	if w.refusal != nil {
		return w.refusal
	}
	return w.step(func() error { return w.Log.Append(ctx, facts, chunks) })
}

func (w *world) Refresh(ctx context.Context, _ ...crony.RunID) error {
	if w.asked++; w.refusal != nil {
		return w.refusal
	}
	return w.Log.Append(ctx, w.others, nil)
}

func (w *world) AnswerRun(_ context.Context, agent, job string, run crony.RunID, a crony.Answer) error {
	return w.step(func() error {
		if agent != "a1" || job != "job" {
			return fmt.Errorf("the run of %s on %s", job, agent)
		}
		if known, ok := w.answers[run]; !ok || known.Attempt < a.Attempt {
			w.answers[run] = a
		}
		return nil
	})
}

func (w *world) Kill(_ string, run crony.RunID) (crony.KillOrder, bool) {
	k, ok := w.kills[run]
	return k, ok
}

func (w *world) Job(context.Context, string) (crony.JobStatus, error) {
	if w.limit == 0 {
		return crony.JobStatus{}, crony.Errorf(crony.NotFound, "there is no such job")
	}
	return crony.JobStatus{Definition: crony.Definition{Job: crony.Job{Shell: &crony.Shell{Limits: &crony.Limits{Output: w.limit}}}}}, nil
}

func newWorld(t *testing.T) (*world, *Callbacks) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	runs, err := runlog.Open(runlog.Options{Dir: filepath.Join(t.TempDir(), "runs"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runs.Close() })
	w := &world{Log: runs, t: t, now: noon.Add(time.Minute), answers: map[crony.RunID]crony.Answer{},
		kills: map[crony.RunID]crony.KillOrder{}, steps: -1}
	c, err := New(Options{State: w, Runs: w, Log: log, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

// waiting is a run that has called somebody, and waits for an hour.
func waiting(id crony.RunID) []crony.Fact {
	sum := sha256.Sum256([]byte(token))
	facts := []crony.Fact{
		{Claimed: &crony.ClaimedFact{Job: "job", JobUID: "u", Generation: 1, Group: "default", Agent: "a1", Trigger: crony.ByHand, ScheduledAt: noon}},
		{Started: &crony.StartedFact{Attempt: 1, Callback: hex.EncodeToString(sum[:])}},
		{Waiting: &crony.WaitingFact{Attempt: 1, Until: noon.Add(time.Hour), Reason: "waits for an answer"}},
	}
	for i := range facts {
		facts[i].Run, facts[i].Seq, facts[i].At = id, i+1, noon
	}
	return facts
}

func (w *world) runs(facts ...crony.Fact) crony.RunID {
	w.t.Helper()
	id := crony.NewRunID(noon)
	all := waiting(id)
	for i, f := range facts {
		f.Run, f.Seq, f.At = id, len(all)+1, noon.Add(time.Duration(i)*time.Second)
		all = append(all, f)
	}
	if err := w.Log.Append(w.t.Context(), all, nil); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) output(id crony.RunID) string {
	w.t.Helper()
	var b strings.Builder
	for c, err := range w.Output(w.t.Context(), id, false) {
		if err != nil {
			w.t.Fatal(err)
		}
		b.Write(c.Data)
	}
	return b.String()
}

func event(seq int, e crony.CalleeEvent) crony.CalleeEvent {
	e.Seq, e.At = seq, noon.Add(time.Duration(seq)*time.Millisecond)
	return e
}

func progress(seq, percent int) crony.CalleeEvent {
	return event(seq, crony.CalleeEvent{Progress: &crony.ProgressFact{Percent: percent, Message: fmt.Sprint(seq)}})
}

func result(seq int, state crony.RunState, data string) crony.CalleeEvent {
	return event(seq, crony.CalleeEvent{Result: &crony.CalleeResult{State: state, Reason: "because", Data: []byte(data)}})
}

func line(seq int, offset int64, text string) crony.CalleeEvent {
	return event(seq, crony.CalleeEvent{Log: &crony.CalleeLog{Offset: offset, Text: text}})
}

func report(events ...crony.CalleeEvent) crony.CalleeReport {
	return crony.CalleeReport{Attempt: 1, Events: events}
}

// TestDies: wherever the process dies, also behind the last step, the service has no answer and tells the same again; then all is
// there, and once.
func TestDies(t *testing.T) {
	all := report(progress(1, 40), line(2, 0, "one\n"), line(3, 4, "two\n"), result(4, crony.Failed, `{"rows":3}`))
	for steps := range 3 {
		w, c := newWorld(t)
		id := w.runs()
		w.steps = steps
		if _, err := c.Take(t.Context(), id, token, all); !errors.Is(err, errDies) {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		w.steps = -1
		for range 2 { // and once more, as this answer may be lost as well
			answer, err := c.Take(t.Context(), id, token, all)
			if err != nil || answer.Stop != "" {
				t.Fatalf("after %d steps: %+v, %v", steps, answer, err)
			}
		}
		run, err := w.Run(t.Context(), id)
		if err != nil || run.Progress == nil || run.Progress.Percent != 40 || string(run.Result) != `{"rows":3}` {
			t.Errorf("after %d steps: %+v, %v", steps, run, err)
		}
		facts, _ := w.Facts(t.Context(), id)
		if got := w.output(id); got != "one\ntwo\n" || len(facts) != 5 {
			t.Errorf("after %d steps: the output is %q, and there are %d facts", steps, got, len(facts))
		}
		if a := w.answers[id]; a.State != crony.Failed || a.Reason != "because" || a.Attempt != 1 {
			t.Errorf("after %d steps: the answer is %+v", steps, a)
		}
	}
}

// TestWhoTells takes nothing but by the token of the very attempt, and says the same of any other.
func TestWhoTells(t *testing.T) {
	w, c := newWorld(t)
	id := w.runs(crony.Fact{Started: &crony.StartedFact{Attempt: 2}})
	var said []string
	for _, try := range []struct {
		attempt int
		token   string
	}{{1, "another"}, {1, ""}, {1, token + "x"}, {2, token}, {2, ""}} {
		_, err := c.Take(t.Context(), id, try.token, crony.CalleeReport{Attempt: try.attempt})
		if crony.CodeOf(err) != crony.Unauthorized {
			t.Errorf("attempt %d, token %q: %v", try.attempt, try.token, err)
			continue
		}
		said = append(said, err.Error())
	}
	for _, text := range said {
		if text != said[0] || strings.Contains(text, token) {
			t.Errorf("said %q and %q", said[0], text)
		}
	}
	if _, err := c.Take(t.Context(), id, token, report()); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("an empty report: %v", err)
	}
}

// TestNotKnownHere asks the other servers for a run, and for an attempt, that is not known here.
func TestNotKnownHere(t *testing.T) {
	w, c := newWorld(t)
	id := crony.NewRunID(noon)
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("nobody knows it: %v", err)
	}
	w.refusal = crony.Errorf(crony.Unavailable, "too few servers answer")
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("too few servers: %v", err)
	}
	w.refusal, w.others = nil, waiting(id)[:1]
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("the attempt is not known: %v", err)
	}
	w.others = waiting(id)
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); err != nil {
		t.Errorf("the others know it: %v", err)
	}
	asked := w.asked
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); err != nil || w.asked != asked {
		t.Errorf("it is known now: %v, others asked %d times more", err, w.asked-asked)
	}
	w.refusal = crony.Errorf(crony.Unavailable, "no quorum")
	if _, err := c.Take(t.Context(), id, token, report(progress(1, 1))); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("told again, what is stored here may be nowhere else: %v", err)
	}
}

// TestStop: what comes too late is on record, changes nothing about the end, and is answered by why to give up.
func TestStop(t *testing.T) {
	for name, test := range map[string]struct {
		more   []crony.Fact
		kill   bool
		after  time.Duration
		want   string
		answer bool
	}{
		"in time":       {want: "", answer: true},
		"it has ended":  {more: []crony.Fact{{Ended: &crony.EndedFact{State: crony.TimedOut}}}, want: "the run has ended: timed_out"},
		"killed":        {kill: true, want: "killed by eve: stuck", answer: true},
		"tried again":   {more: []crony.Fact{{Started: &crony.StartedFact{Attempt: 2}}}, want: "attempt 1 of the run is over"},
		"after its end": {after: time.Hour, want: "the run's time is up"},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := newWorld(t)
			id := w.runs(test.more...)
			if test.kill {
				w.kills[id] = crony.KillOrder{By: "eve", Reason: "stuck", At: noon}
			}
			w.now = w.now.Add(test.after)
			before, _ := w.Run(t.Context(), id)
			answer, err := c.Take(t.Context(), id, token, report(result(1, crony.Succeeded, "")))
			if err != nil || answer.Stop != test.want {
				t.Errorf("%+v, %v; want %q", answer, err, test.want)
			}
			run, _ := w.Run(t.Context(), id)
			given := "null"
			if len(run.Attempts) > 1 { // it is of the attempt before
				given = ""
			}
			if _, answered := w.answers[id]; answered != test.answer || run.State != before.State || string(run.Result) != given {
				t.Errorf("answered: %v; the run is %s with %s", answered, run.State, run.Result)
			}
		})
	}
}

// TestFirstCounts: of several results the first is the answer.
func TestFirstCounts(t *testing.T) {
	w, c := newWorld(t)
	id := w.runs()
	for i, state := range []crony.RunState{crony.Failed, crony.Succeeded} {
		if _, err := c.Take(t.Context(), id, token, report(result(10-i, state, fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	if a := w.answers[id]; a.State != crony.Failed {
		t.Errorf("the answer is %+v", a)
	}
}

// TestBounds: progress is kept as long as there is room, and then only what says more; the results have a bound too; and of the
// output the head, up to the job's limit, and once that there was more.
func TestBounds(t *testing.T) {
	w, c := newWorld(t)
	w.limit = 10
	id := w.runs()
	seq := 0
	for range 3 {
		var events []crony.CalleeEvent
		for range 100 {
			seq++
			events = append(events, progress(seq, 5))
		}
		if _, err := c.Take(t.Context(), id, token, report(events...)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Take(t.Context(), id, token, report(progress(seq+1, 6), progress(seq+2, 6), result(seq+3, crony.Failed, "1"))); err != nil {
		t.Fatal(err)
	}
	run, _ := w.Run(t.Context(), id)
	facts, _ := w.Facts(t.Context(), id)
	if len(facts) != 3+maxProgress+2 || run.Progress.Percent != 6 || run.Progress.Message != fmt.Sprint(seq+1) {
		t.Errorf("%d facts, the progress is %+v", len(facts), run.Progress)
	}
	for i := range 2 * maxResults {
		if _, err := c.Take(t.Context(), id, token, report(result(1000+i, crony.Failed, "1"))); err != nil {
			t.Fatal(err)
		}
	}
	if facts, _ := w.Facts(t.Context(), id); len(facts) != 3+maxProgress+1+maxResults {
		t.Errorf("%d facts", len(facts))
	}
	for range 2 {
		for i, text := range []string{"01234567", "89abc", "def"} {
			offset := int64([]int{0, 8, 13}[i])
			if _, err := c.Take(t.Context(), id, token, report(line(2000+i, offset, text))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := w.output(id); got != "0123456789\ncrony: what comes after 10 bytes is not kept\n" {
		t.Errorf("the output is %q", got)
	}
}

// TestClocks: a service's clock is believed as far as what it says can be.
func TestClocks(t *testing.T) {
	w, c := newWorld(t)
	id := w.runs()
	for i, at := range []time.Time{noon.Add(time.Second), noon.AddDate(-1, 0, 0), noon.AddDate(7000, 0, 0)} {
		e := progress(i+1, i)
		e.At = at
		if _, err := c.Take(t.Context(), id, token, report(e)); err != nil {
			t.Fatal(err)
		}
		want := at
		if i > 0 {
			want = w.now
		}
		if run, _ := w.Run(t.Context(), id); !run.Progress.At.Equal(want) {
			t.Errorf("it was at %s, want %s", run.Progress.At, want)
		}
	}
}
