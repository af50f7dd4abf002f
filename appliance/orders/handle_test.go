package orders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/embedded/state"
)

// result puts a run on record that has ended with a result.
func (r *rig) result() crony.RunID {
	r.t.Helper()
	id := crony.NewRunID(time.Now())
	if err := r.runs.Log.Append(r.t.Context(), resultFacts(id), nil); err != nil {
		r.t.Fatal(err)
	}
	return id
}

func resultFacts(id crony.RunID) []crony.Fact {
	facts := factsOf(id, "a1", crony.Failed)
	facts[0].Claimed.Handle = true
	return append(facts, crony.Fact{Run: id, Seq: crony.CalleeSeq, At: facts[0].At, Result: &crony.ResultFact{Data: []byte(`{"rows":3}`)}})
}

func (r *rig) handle(by string, id crony.RunID, request string) (crony.Handled, error) {
	return r.HandleRun(crony.WithActor(r.t.Context(), by), id, crony.HandleOptions{Note: "by " + by, Request: request})
}

func (r *rig) wantHandled(id crony.RunID, by string) {
	r.t.Helper()
	run, err := r.runs.Run(r.t.Context(), id)
	if err != nil || run.ToHandle || run.Handled == nil || run.Handled.By != by || run.Handled.Note != "by "+by {
		r.t.Errorf("on record is %+v, to handle: %v, %v; want by %s", run.Handled, run.ToHandle, err, by)
	}
	if left := r.store.Handlings(); len(left) > 0 {
		r.t.Errorf("%+v are left in the store", left)
	}
}

// wantBy says that somebody was told that another has handled the result.
func wantBy(t *testing.T, err error, by string) {
	t.Helper()
	if crony.CodeOf(err) != crony.Conflict || !strings.Contains(fmt.Sprint(err), "handled by "+by+" at 2") {
		t.Errorf("%v, want that it was %s", err, by)
	}
}

// TestHandleRun marks a result once; the same request has the same answer, and nobody else has it.
func TestHandleRun(t *testing.T) {
	r := newRig(t)
	id := r.result()
	first, err := r.handle("alice", id, "request-1")
	if err != nil || first.By != "alice" || first.At.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	r.wantHandled(id, "alice")
	if again, err := r.handle("alice", id, "request-1"); err != nil || !again.At.Equal(first.At) {
		t.Errorf("the same request once more: %+v, %v", again, err)
	}
	for _, c := range [][2]string{{"alice", "request-2"}, {"alice", ""}, {"bob", "request-1"}, {"bob", ""}} {
		_, err := r.handle(c[0], id, c[1])
		wantBy(t, err, "alice")
	}
	if text := r.log.String(); strings.Count(text, "result handled") != 1 || !strings.Contains(text, "by=alice") {
		t.Errorf("the log says\n%s", text)
	}
}

func TestNothingToHandle(t *testing.T) {
	r := newRig(t)
	unasked := resultFacts(crony.NewRunID(time.Now()))
	unasked[0].Claimed.Handle = false
	if err := r.runs.Log.Append(t.Context(), unasked, nil); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[crony.RunID]string{
		r.run("a1", crony.Running): "has not ended", r.run("a1", crony.Succeeded): "no result", unasked[0].Run: "did not ask",
	} {
		if _, err := r.handle("alice", id, ""); crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want that it %s", err, want)
		}
	}
	if _, err := r.handle("alice", crony.NewRunID(time.Now()), ""); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("an unknown run: %v", err)
	}
	for name, opts := range map[string]crony.HandleOptions{
		"long": {Note: strings.Repeat("x", crony.MaxReason+1)}, "no text": {Note: "\xff"}, "request": {Request: "a b"},
	} {
		if _, err := r.HandleRun(t.Context(), r.result(), opts); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.handle("alice", "nonsense", ""); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("no run's id: %v", err)
	}
	if left := r.store.Handlings(); len(left) > 0 {
		t.Errorf("%+v are left in the store", left)
	}
}

// TestHandledOnceByMany has people at two servers mark a result at once. One of them has.
func TestHandledOnceByMany(t *testing.T) {
	r := newRig(t)
	other, err := New(r.opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		id := r.result()
		var all sync.WaitGroup
		errs := make([]error, 16)
		for i := range errs {
			all.Go(func() {
				at := []*Orders{r.Orders, other}[i%2]
				ctx := crony.WithActor(t.Context(), fmt.Sprint("p", i))
				_, errs[i] = at.HandleRun(ctx, id, crony.HandleOptions{Note: fmt.Sprint("by p", i)})
			})
		}
		all.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("nobody has handled it: %v", errs)
		}
		for i, err := range errs {
			if i != winner {
				wantBy(t, err, fmt.Sprint("p", winner))
			}
		}
		r.wantHandled(id, fmt.Sprint("p", winner))
	}
}

// TestHandlerDies leaves a decision that is not on record: the server died, or the run log took nothing. Nobody else is told
// that it was them, and whoever comes next, or the leader, goes on with it.
func TestHandlerDies(t *testing.T) {
	down := crony.Errorf(crony.Unavailable, "too few servers")
	for name, next := range map[string]func(r *rig, id crony.RunID){
		"the same asks again": func(r *rig, id crony.RunID) {
			if _, err := r.handle("alice", id, "request-1"); err != nil {
				t.Error(err)
			}
		},
		"another asks": func(r *rig, id crony.RunID) {
			_, err := r.handle("bob", id, "")
			wantBy(t, err, "alice")
		},
		"the leader": func(r *rig, _ crony.RunID) {
			k := &keeper{Options: r.opts, log: r.opts.Log, told: map[crony.RunID]bool{}}
			k.sweep(t.Context())
		},
	} {
		for _, part := range []string{"asks too few", "stores with too few"} {
			t.Run(name+" after one who "+part, func(t *testing.T) {
				r := newRig(t)
				id := r.result()
				if part == "asks too few" {
					r.runs.fail(down, nil)
				} else {
					r.runs.fail(nil, down)
				}
				if _, err := r.handle("alice", id, "request-1"); !errors.Is(err, down) {
					t.Fatalf("%v, want that it is not known", err)
				}
				if _, err := r.handle("bob", id, ""); !errors.Is(err, down) {
					t.Fatalf("bob meanwhile: %v, want that it is not known", err)
				}
				if left := r.store.Handlings(); len(left) != 1 || left[0].By != "alice" {
					t.Fatalf("decided is %+v", left)
				}
				r.runs.fail(nil, nil)
				next(r, id)
				r.wantHandled(id, "alice")
			})
		}
	}
}

// TestHandledElsewhere asks a server that has not heard yet that the result is handled: the key is gone, and the record is on
// other servers.
func TestHandledElsewhere(t *testing.T) {
	r := newRig(t)
	id := r.result()
	r.runs.late = []crony.Fact{(&crony.Handled{By: "alice", At: time.Now(), Note: "by alice", Request: "request-1"}).Fact(id)}
	_, err := r.handle("bob", id, "")
	wantBy(t, err, "alice")
	r.wantHandled(id, "alice")

	behind := resultFacts(crony.NewRunID(time.Now())) // of which this server knows nothing, or not the result
	r.runs.late = behind
	for _, known := range [][]crony.Fact{nil, behind[:3]} {
		if err := r.runs.Log.Append(t.Context(), known, nil); err != nil {
			t.Fatal(err)
		}
		r.runs.fail(crony.Errorf(crony.Unavailable, "too few servers"), nil)
		if _, err := r.handle("bob", behind[0].Run, ""); crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("%v, want that it is not known", err)
		}
	}
	r.runs.fail(nil, nil)
	if _, err := r.handle("bob", behind[0].Run, ""); err != nil {
		t.Error(err)
	}
	r.wantHandled(behind[0].Run, "bob")
}

// TestHandledRunIsGone has retention take the run after it was decided that it is handled. Nothing is left.
func TestHandledRunIsGone(t *testing.T) {
	r := newRig(t)
	gone := crony.NewRunID(time.Now())
	if _, err := r.store.DecideHandled(context.Background(), state.Handling{Run: gone, At: time.Now().UTC(),
		HandledFact: crony.HandledFact{By: "alice", Request: "request-1"}}); err != nil {
		t.Fatal(err)
	}
	r.runs.fail(crony.Errorf(crony.Unavailable, "too few servers"), nil)
	k := &keeper{Options: r.opts, log: r.opts.Log, told: map[crony.RunID]bool{}}
	if k.sweep(t.Context()); len(r.store.Handlings()) != 1 {
		t.Error("it is given up though the other servers were not asked")
	}
	r.runs.fail(nil, nil)
	if k.sweep(t.Context()); len(r.store.Handlings()) != 0 {
		t.Errorf("%+v are left in the store", r.store.Handlings())
	}
	if _, err := r.handle("bob", gone, ""); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("%v", err)
	}
}
