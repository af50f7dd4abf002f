package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// next reads a feed, which must have something to tell.
func (r *rig) next(f *Feed) Changes {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx(), patience)
	defer cancel()
	c, err := f.Next(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) wantNext(f *Feed, want Changes) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.next(f), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// quiet checks that a feed has nothing to tell.
func (r *rig) quiet(f *Feed) {
	r.t.Helper()
	select {
	case <-f.wake:
		r.t.Errorf("a feed wakes for nothing: %+v", f)
	default:
	}
}

func TestFeeds(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"), job1("b", "1"), job1("c", "1"))
	all, one, two := r.Changes(""), r.Changes("a1"), r.Changes("a2")
	twin := r.Changes("a1")
	for _, f := range []*Feed{all, one, two, twin} {
		r.wantNext(f, Changes{Reset: true})
		r.quiet(f)
	}

	r.give("a1", "a", "b")
	r.wantNext(all, Changes{Jobs: []string{"a", "b"}})
	r.wantNext(one, Changes{Jobs: []string{"a", "b"}})
	r.quiet(two)

	r.define(job1("b", "2"), job1("c", "2")) // what is not read yet comes together
	r.give("a2", "a")
	r.wantNext(one, Changes{Jobs: []string{"a", "b"}})
	r.wantNext(two, Changes{Jobs: []string{"a"}})
	r.wantNext(all, Changes{Jobs: []string{"a", "b", "c"}})

	if _, err := r.StartJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.wantNext(two, Changes{Jobs: []string{"a"}})
	r.granted(r.ask("b", "a1", r.settle("b"), 1)) // claims are many, and nobody's news
	if err := r.DeleteJob(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	r.wantNext(one, Changes{Jobs: []string{"b"}})
	r.wantNext(all, Changes{Jobs: []string{"a", "b"}, Ledger: true})
	r.quiet(two)

	p, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1", Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	r.wantNext(all, Changes{Agents: []string{"a1"}})
	p.Leave(t.Context())
	r.wantNext(all, Changes{Agents: []string{"a1"}})
	r.quiet(one)

	r.wantNext(twin, Changes{Jobs: []string{"a", "b"}})
	for _, f := range []*Feed{all, one, two} {
		f.Close()
		f.Close()
	}
	r.define(job1("b", "1"))
	r.quiet(all)
	twin.Close()
	if n := len(r.mirror.subs); n != 0 {
		t.Errorf("%d feeds are left", n)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := one.Next(ctx); !errors.Is(err, enough) {
		t.Errorf("a read whose context is done: %v", err)
	}
}

// TestFeedWakesOnce: what comes after a reader has woken, and before it reads, is read with the rest, and wakes nobody again.
func TestFeedWakesOnce(t *testing.T) {
	r := newRig(t, emptied(t))
	f := r.Changes("")
	defer f.Close()
	r.mirror.mu.Lock()
	read := make(chan Changes, 1)
	go func() { read <- r.next(f) }()
	r.wait("the reader to wake", func() bool { return len(f.wake) == 0 })
	r.mirror.touchJob("a")
	r.mirror.mu.Unlock()
	if c := <-read; !c.Reset || !slices.Equal(c.Jobs, []string{"a"}) {
		t.Errorf("read %+v", c)
	}
	r.quiet(f)
}

// TestFeedIsTaken: whoever waits for other things as well takes what came when there is a sign, and nothing without.
func TestFeedIsTaken(t *testing.T) {
	r := newRig(t, emptied(t))
	f := r.Changes("")
	defer f.Close()
	<-f.Ready()
	if c := f.Take(); !c.Reset {
		t.Errorf("the first time: %+v", c)
	}
	if c := f.Take(); !cmp.Equal(c, Changes{}, cmpopts.EquateEmpty()) {
		t.Errorf("once more: %+v", c)
	}
	r.define(job1("a", "1"))
	r.define(job1("b", "1"))
	if c := f.Take(); !slices.Equal(c.Jobs, []string{"a", "b"}) { // without having waited
		t.Errorf("after two changes: %+v", c)
	}
	r.quiet(f)
}

// TestFeedLosesNothing has readers keep a view of their own by what feeds tell them, while jobs change, move and go. In the
// end each view is what the store shows.
func TestFeedLosesNothing(t *testing.T) {
	r := newRig(t, emptied(t))
	const names, rounds = 5, 120
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type view map[string]string
	see := func(agent, name string) string {
		if agent != "" {
			if a, has := r.Assigned(agent, name); has {
				return fmt.Sprint(a.Assignment.Epoch)
			}
			return ""
		}
		j := r.look(name)
		return fmt.Sprint(j.rev, agentOf(j))
	}
	var readers sync.WaitGroup
	views := make([]view, 12)
	agents := make([]string, len(views))
	for i := range views {
		views[i], agents[i] = view{}, []string{"", "a0", "a1", "a2"}[i%4]
		feed := r.Changes(agents[i])
		readers.Go(func() {
			defer feed.Close()
			for {
				c, err := feed.Next(ctx)
				if err != nil {
					return
				}
				for _, name := range c.Jobs {
					views[i][name] = see(agents[i], name)
				}
				if slices.Contains(c.Jobs, "end") {
					return
				}
			}
		})
	}
	term := r.elect()
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for n := range rounds {
				name := fmt.Sprint("job-", (n+w)%names)
				var err error
				switch (n + w) % 7 {
				case 0:
					err = r.DeleteJob(ctx, name)
				case 1, 2:
					_, err = r.Define(ctx, crony.Manifest{Jobs: []crony.Job{job1(name, fmt.Sprint(w, n))}}, crony.ApplyOptions{})
				default:
					j := r.look(name)
					err = r.Place(ctx, term, []crony.Assignment{{Job: name, Agent: fmt.Sprint("a", n%3), Generation: j.generation()}})
				}
				if err != nil && crony.CodeOf(err) != crony.NotFound {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	r.define(job1("end", ""))
	for _, agent := range []string{"a0", "a1", "a2"} { // every agent gets it once
		r.give(agent, "end")
	}
	timer := time.AfterFunc(patience, stop)
	readers.Wait()
	if !timer.Stop() {
		t.Error("a feed did not tell of the last change")
	}
	for i, v := range views {
		want := view{}
		for n := range names {
			name := fmt.Sprint("job-", n)
			if s := see(agents[i], name); s != "" && r.look(name).rev != 0 {
				want[name] = s
			}
		}
		maps.DeleteFunc(v, func(name, s string) bool { return name == "end" || s == "" || s == "0" })
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("what a feed of %q told of (-want +got):\n%s", agents[i], diff)
		}
	}
}
