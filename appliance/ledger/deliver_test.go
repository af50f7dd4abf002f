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
