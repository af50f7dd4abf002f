package ledger

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/embedded/fakeetcd"
	"crony/embedded/state"
)

// keeper keeps stretches in memory, and fails as it is told.
type keeper struct {
	mu    sync.Mutex
	kept  map[string]crony.Stretch
	runs  map[crony.RunID]bool
	fail  error                    // of every write
	wrong func(crony.Stretch) bool // what can't be right
	calls int

	elsewhere map[crony.RunID]bool // runs that other servers know
	cutOff    error                // of asking them
}

func (k *keeper) AppendStretches(_ context.Context, list []crony.Stretch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	if k.fail != nil {
		return k.fail
	}
	for _, s := range list {
		if k.wrong != nil && k.wrong(s) {
			return crony.Errorf(crony.Invalid, "it can't be right")
		}
	}
	for _, s := range list {
		k.kept[s.JobUID+s.From.String()] = s
	}
	return nil
}

// Refresh finds what other servers know of the run.
func (k *keeper) Refresh(_ context.Context, runs ...crony.RunID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range runs {
		if k.elsewhere[id] {
			k.runs[id] = true
		}
	}
	return k.cutOff
}

func (k *keeper) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.runs[id] {
		return crony.Run{}, crony.Errorf(crony.NotFound, "there is no run %s", id)
	}
	return crony.Run{ID: id}, nil
}

// set changes the keeper, and waits until everything has come to rest.
func (k *keeper) set(change func()) {
	k.mu.Lock()
	change()
	k.mu.Unlock()
	synctest.Wait()
}

// ends returns how many occurrences are kept as ended so.
func (k *keeper) ends(end crony.End) (n int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.kept {
		if s.End == end {
			n += s.Count
		}
	}
	return n
}

// delivering runs a test in a bubble with a store, jobs a, b and c that are due each second and paused in turn, and the
// delivery of what is passed over.
func delivering(t *testing.T, test func(t *testing.T, store *state.Store, k *keeper)) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		store, err := state.Open(t.Context(), state.Options{Client: fakeetcd.New().Client(t.Context()), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		k := &keeper{kept: map[string]crony.Stretch{}, runs: map[crony.RunID]bool{}}
		var m crony.Manifest
		for _, name := range []string{"a", "b", "c"} {
			m.Jobs = append(m.Jobs, crony.Job{Name: name, Schedule: "* * * * * *", Shell: &crony.Shell{Command: "true"}})
		}
		if _, err := store.Define(t.Context(), m, crony.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		defer done.Wait()
		defer cancel()
		done.Go(func() {
			err := store.Lead(ctx, "s1", func() bool { return true }, func(ctx context.Context, term state.Term) error {
				places := store.Places(state.Scope{Open: true})
				var list []state.Move
				for _, p := range places.Jobs {
					name, generation := p.Definition.Job.Name, p.Definition.Generation
					list = append(list, state.Move{Job: name, Generation: generation,
						Put: []crony.Assignment{{Job: name, Agent: "a1", Generation: generation}}})
				}
				if _, err := store.Place(ctx, term, list); err != nil {
					return err
				}
				return Deliver(ctx, store, k, log, time.Now)
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		test(t, store, k)
	})
}

// remove removes a job: all that it left undecided is passed over.
func remove(t *testing.T, store *state.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := store.DeleteJob(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestDeliver(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		time.Sleep(10 * time.Second)
		remove(t, store, "a")
		if n := k.ends(crony.EndMissed); n != 10 || len(store.Passes()) > 0 {
			t.Errorf("%d are kept, %d records are left", n, len(store.Passes()))
		}
	})
}

// TestDeliverLater has a run log that can't be written: records stay until it can, and are stored once.
func TestDeliverLater(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		time.Sleep(10 * time.Second)
		k.set(func() { k.fail = errors.New("the disk is full") })
		remove(t, store, "a", "b")
		time.Sleep(time.Hour)
		k.set(func() {
			if len(store.Passes()) != 2 || k.calls > 4000 {
				t.Errorf("%d records are left after %d attempts", len(store.Passes()), k.calls)
			}
			k.fail = nil
		})
		time.Sleep(deliverAgain)
		synctest.Wait()
		if n := k.ends(crony.EndMissed); n != 20 || len(store.Passes()) > 0 {
			t.Errorf("%d are kept, %d records are left", n, len(store.Passes()))
		}
	})
}

// TestDeliverJunk has a record that never can be stored among others: it holds up none of them.
func TestDeliverJunk(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		time.Sleep(10 * time.Second)
		k.set(func() { k.fail = errors.New("not yet") })
		remove(t, store, "a", "b", "c")
		k.set(func() { k.fail, k.wrong = nil, func(s crony.Stretch) bool { return s.Job == "b" } })
		time.Sleep(deliverAgain)
		synctest.Wait()
		if n := k.ends(crony.EndMissed); n != 20 || len(store.Passes()) > 0 {
			t.Errorf("%d are kept, %d records are left", n, len(store.Passes()))
		}
	})
}

// TestDeliverClaimed has claims whose job is taken away before their agent has said a word: one is reported in time, one never.
func TestDeliverClaimed(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		var runs []crony.RunID
		for _, name := range []string{"a", "b"} {
			job, err := store.Job(t.Context(), name)
			if err != nil || job.Assigned == 0 {
				t.Fatalf("%+v, %v", job, err)
			}
			d, err := store.Claim(t.Context(), []state.Ask{{Job: name, Agent: "a1", Epoch: job.Assignments[0].Epoch,
				At: time.Now().Truncate(time.Second).Add(time.Second)}})
			if err != nil || !d[0].Granted {
				t.Fatalf("%+v, %v", d, err)
			}
			runs = append(runs, d[0].Run)
		}
		synctest.Wait()
		remove(t, store, "a", "b")
		if len(store.Passes()) != 2 {
			t.Fatalf("%+v", store.Passes())
		}
		time.Sleep(reportWait / 2)
		k.set(func() { k.runs[runs[0]] = true })
		time.Sleep(reportWait)
		synctest.Wait()
		if n := k.ends(crony.EndLost); n != 1 || len(store.Passes()) > 0 {
			t.Errorf("%d are lost, %d records are left", n, len(store.Passes()))
		}
	})
}

// TestDeliverRan has an agent that was cut off tell what it ran: all of it is reported, or not all.
func TestDeliverRan(t *testing.T) {
	for name, reported := range map[string]int{"all": 10, "not all": 9} {
		t.Run(name, func(t *testing.T) {
			delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
				time.Sleep(10 * time.Second)
				job, err := store.Job(t.Context(), "a")
				if err != nil || job.Assigned == 0 {
					t.Fatalf("%+v, %v", job, err)
				}
				from := job.PlanSince
				d, err := store.Claim(t.Context(), []state.Ask{{Job: "a", Agent: "a1", Epoch: job.Assignments[0].Epoch, After: from,
					At: from.Add(10 * time.Second), Reason: "alone", Ran: true}})
				if err != nil || !d[0].Granted {
					t.Fatalf("%+v, %v", d, err)
				}
				synctest.Wait()
				if len(store.Passes()) != 1 || k.ends(crony.EndLost) != 0 {
					t.Fatalf("judged before it could be reported: %+v", store.Passes())
				}
				runs, ok := store.Passes()[0].Runs(10)
				if !ok || len(runs) != 10 {
					t.Fatalf("the runs are %v", runs)
				}
				k.set(func() {
					for _, run := range runs[:reported] {
						k.runs[run] = true
					}
				})
				time.Sleep(2 * reportWait)
				synctest.Wait()
				want := int64(10) // the runs outweigh their part of the stretch
				if reported == len(runs) {
					want = 0
				}
				if n := k.ends(crony.EndLost); n != want || len(store.Passes()) > 0 {
					t.Errorf("%d are lost, %d records are left", n, len(store.Passes()))
				}
			})
		})
	}
}

// TestDeliverAndRunAgain has claims of an agent that never says a word. Before they are lost, a second run is ordered where the
// job says so; if that can't be, the record waits.
func TestDeliverAndRunAgain(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		again := crony.Job{Name: "b", Schedule: "* * * * * *", Shell: &crony.Shell{Command: "true"}, OnLost: crony.LostRerun}
		if _, err := store.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{again}}, crony.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		uids := map[string]string{}
		at := time.Now().Truncate(time.Second).Add(time.Second)
		for _, name := range []string{"a", "b"} {
			if _, _, err := store.Settle(t.Context(), "a1", name); err != nil {
				t.Fatal(err)
			}
			job, err := store.Job(t.Context(), name)
			if err != nil || job.Assigned == 0 {
				t.Fatalf("%+v, %v", job, err)
			}
			uids[name] = job.UID
			d, err := store.Claim(t.Context(), []state.Ask{{Job: name, Agent: "a1", Epoch: job.Assignments[0].Epoch, At: at}})
			if err != nil || !d[0].Granted {
				t.Fatalf("%+v, %v", d, err)
			}
		}
		again.Schedule = "0 * * * *"
		plain := crony.Job{Name: "a", Schedule: "0 * * * *", Shell: &crony.Shell{Command: "true"}}
		if _, err := store.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{plain, again}}, crony.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			if _, _, err := store.Settle(t.Context(), "a1", name); err != nil {
				t.Fatal(err)
			}
		}
		k.set(func() { k.cutOff = errors.New("too few servers answer") })
		time.Sleep(2 * reportWait)
		synctest.Wait()
		if n := k.ends(crony.EndLost); n != 0 || len(store.OrderedOf("a1")) > 0 {
			t.Errorf("%d are lost, and orders are %v, before it is known that they are", n, store.OrderedOf("a1"))
		}
		k.set(func() { k.cutOff = nil })
		time.Sleep(reportWait)
		synctest.Wait()
		if n := k.ends(crony.EndLost); n != 2 {
			t.Errorf("%d are lost", n)
		}
		if list := store.Orders("a1", "a"); len(list) > 0 {
			t.Errorf("what is not to run again is ordered: %v", list)
		}
		list := store.Orders("a1", "b")
		if len(list) != 1 || list[0].Request.Run != crony.RerunID(uids["b"], at, "") || !list[0].Request.At.Equal(at) {
			t.Errorf("ordered: %+v", list)
		}
	})
}

// TestDeliverAdopted has occurrences that were passed over be an agent's that ran them without a claim. The records are no entries,
// and stay until the runs are reported, or nobody can be expected to any more.
func TestDeliverAdopted(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		var list []state.Unclaimed
		for n := range 2 {
			at := time.Now().Add(time.Duration(n) * time.Second)
			list = append(list, state.Unclaimed{Agent: "a1", Run: crony.OccurrenceRunID("u", at, ""), Job: "gone", UID: "u", Generation: 1, At: at})
		}
		if own, err := store.Adopt(t.Context(), list); err != nil || !own[0] || !own[1] {
			t.Fatalf("%v, %v", own, err)
		}
		k.set(func() { k.runs[list[0].Run] = true })
		time.Sleep(2 * reportWait)
		synctest.Wait()
		if left := store.Passes(); len(left) != 1 || left[0].Unless != list[1].Run {
			t.Fatalf("when one is reported, %+v are left", left)
		}
		time.Sleep(adoptedWait - 3*reportWait)
		synctest.Wait()
		if n := len(store.Passes()); n != 1 {
			t.Errorf("before the end, %d records are left", n)
		}
		time.Sleep(2 * reportWait)
		synctest.Wait()
		if n := len(store.Passes()); n != 0 || k.calls > 0 {
			t.Errorf("in the end %d records are left, and %d writes were made", n, k.calls)
		}
	})
}

// TestDeliverKnownElsewhere has a claim that was reported to another server: it is not lost, nor judged while that is cut off.
func TestDeliverKnownElsewhere(t *testing.T) {
	delivering(t, func(t *testing.T, store *state.Store, k *keeper) {
		job, err := store.Job(t.Context(), "a")
		if err != nil || job.Assigned == 0 {
			t.Fatalf("%+v, %v", job, err)
		}
		d, err := store.Claim(t.Context(), []state.Ask{{Job: "a", Agent: "a1", Epoch: job.Assignments[0].Epoch,
			At: time.Now().Truncate(time.Second).Add(time.Second)}})
		if err != nil || !d[0].Granted {
			t.Fatalf("%+v, %v", d, err)
		}
		synctest.Wait()
		remove(t, store, "a")
		k.set(func() { k.cutOff = errors.New("too few servers answer") })
		time.Sleep(2 * reportWait)
		synctest.Wait()
		if n := len(store.Passes()); n != 1 {
			t.Errorf("%d records are left", n)
		}
		k.set(func() { k.cutOff, k.elsewhere = nil, map[crony.RunID]bool{d[0].Run: true} })
		time.Sleep(2 * deliverAgain)
		synctest.Wait()
		if n := k.ends(crony.EndLost); n != 0 || len(store.Passes()) > 0 {
			t.Errorf("%d are lost, %d records are left", n, len(store.Passes()))
		}
	})
}
