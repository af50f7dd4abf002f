package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/internal/storetest"
)

func TestCalendars(t *testing.T) {
	storetest.Calendars(t, func(t *testing.T) storetest.CalendarStore { return newRig(t, emptied(t)).Store })
}

// apply defines calendars and jobs, and returns the error.
func (r *rig) apply(calendars []crony.Calendar, jobs ...crony.Job) error {
	_, err := r.Define(r.ctx(), crony.Manifest{Calendars: calendars, Jobs: jobs}, crony.ApplyOptions{})
	return err
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func off(name string, days ...string) []crony.Calendar {
	return []crony.Calendar{storetest.DaysOff(name, days...)}
}

// TestCalendarChangesEpochs changes a calendar: the jobs that keep it get a new generation with their assignment, so that
// their agents hear of it, and nobody else does.
func TestCalendarChangesEpochs(t *testing.T) {
	r := newRig(t, emptied(t))
	r.must(r.apply(append(off("a"), off("b")...), storetest.Keeper("ja", "a"), storetest.Keeper("jb", "b"), storetest.Keeper("paused", "a"),
		storetest.Keeper("nowhere", "a"), job1("j", "")))
	if _, err := r.PauseJob(t.Context(), "paused", true); err != nil {
		t.Fatal(err)
	}
	r.give("a1", "ja", "jb", "paused", "j")
	epochs := func() map[string]int64 {
		list := map[string]int64{}
		for _, name := range []string{"ja", "jb", "paused", "j"} {
			j := r.look(name)
			if j.newest().Generation != j.generation() {
				t.Errorf("%s is at generation %d, its assignment at %d", name, j.generation(), j.newest().Generation)
			}
			list[name] = j.newest().Epoch
		}
		return list
	}
	before, rev := epochs(), r.Revision()
	feed := r.Changes("a1")
	defer feed.Close()
	if _, err := feed.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.must(r.apply(append(off("a"), off("b")...)))
	if after := epochs(); !cmp.Equal(before, after) || r.Revision() != rev {
		t.Errorf("calendars that stand: epochs %v, then %v; revision %d, then %d", before, after, rev, r.Revision())
	}
	changed := r.clock.forward(time.Hour)
	r.must(r.apply(off("a", "2027-01-01")))
	after := epochs()
	for _, name := range []string{"ja", "paused"} {
		if after[name] == before[name] {
			t.Errorf("%s keeps the calendar, and its epoch is %d still", name, after[name])
		}
	}
	for _, name := range []string{"j", "jb"} {
		if after[name] != before[name] {
			t.Errorf("%s does not keep the calendar, and its epoch went from %d to %d", name, before[name], after[name])
		}
	}
	if c, err := feed.Next(t.Context()); err != nil || !slices.Equal(c.Jobs, []string{"ja", "paused"}) {
		t.Errorf("the agent hears of %+v, %v", c, err)
	}
	def := r.look("ja").def
	if !def.PlanSince.Equal(changed) || !def.UpdatedAt.Equal(changed) || def.Generation != 2 {
		t.Errorf("the job's definition: %+v", def)
	}
	if keys := r.keys(history + "ja/"); !slices.Equal(keys, []string{historyKey("ja", 1)}) {
		t.Errorf("its history: %v", keys)
	}
	r.must(r.apply(nil, func() crony.Job { j := storetest.Keeper("ja", "a"); j.Note = "new"; return j }()))
	r.clock.forward(time.Hour)
	if def := r.look("ja").def; !def.PlanSince.Equal(changed) {
		t.Errorf("a note moved what is due: since %v, want %v", def.PlanSince, changed)
	}
}

// TestCalendarsThroughAServerThatIsBehind has one server answer that has not seen what another did to the same calendar.
func TestCalendarsThroughAServerThatIsBehind(t *testing.T) {
	keep := func(_ *testing.T, r *rig) error { return r.apply(nil, storetest.Keeper("new", "c")) }
	change := func(_ *testing.T, r *rig) error { return r.apply(off("c", "2027-05-05")) }
	remove := func(t *testing.T, r *rig) error { return r.DeleteCalendar(t.Context(), "c") }
	for name, test := range map[string]struct {
		first, second func(t *testing.T, r *rig) error
		code          crony.Code // of what the second answers
	}{
		"kept, then changed":   {keep, change, ""},
		"changed, then kept":   {change, keep, ""},
		"kept, then deleted":   {keep, remove, crony.Conflict},
		"deleted, then kept":   {remove, keep, crony.Invalid},
		"changed, then paused": {change, func(t *testing.T, r *rig) error { _, err := r.PauseJob(t.Context(), "old", true); return err }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := emptied(t)
			r, behind := newRig(t, client), newRig(t, client)
			r.must(r.apply(off("c"), storetest.Keeper("old")))
			if strings.Contains(name, "paused") {
				r.must(r.apply(nil, storetest.Keeper("old", "c")))
			}
			r.must(behind.sync(t.Context()))
			behind.link.hold()
			r.must(test.first(t, r))
			done, asked := make(chan error, 1), behind.asked()
			go func() { done <- test.second(t, behind) }()
			select {
			case err := <-done:
				t.Errorf("the server that is behind answered: %v", err)
			case <-asked:
			}
			behind.link.release()
			if err := <-done; crony.CodeOf(err) != test.code {
				t.Errorf("the server that was behind: %v, want %q", err, test.code)
			}
			r.must(r.sync(t.Context()))
			r.agree()
		})
	}
}

// agree checks that every job has the calendars that it keeps as they are in the store.
func (r *rig) agree() {
	r.t.Helper()
	page, err := r.ListJobs(r.ctx(), crony.JobQuery{Limit: crony.MaxLimit})
	r.must(err)
	for _, j := range page.Items {
		for i, use := range j.Job.Calendars {
			c, err := r.Calendar(r.ctx(), use.Name)
			if err != nil || len(j.Calendars) != len(j.Job.Calendars) || !cmp.Equal(c.Calendar, j.Calendars[i]) {
				r.t.Errorf("%s has %+v, the store %+v, %v", j.Job.Name, j.Calendars, c.Calendar, err)
			}
		}
	}
}

// TestCalendarsAgreeAtEveryRevision has two servers at work on calendars and jobs, and looks at every single revision: no
// definition holds another calendar than the store does.
func TestCalendarsAgreeAtEveryRevision(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	start := r.put("begin", "")
	r.must(r.apply(append(off("c0"), off("c1")...)))
	done := make(chan error, 8)
	const rounds = 25
	for w, s := range []*rig{r, other} {
		for part, step := range []func(n int) error{
			func(n int) error { return s.apply(off(fmt.Sprint("c", n%2), fmt.Sprintf("2%03d-01-01", w*100+n))) },
			func(n int) error {
				return s.apply(nil, storetest.Keeper(fmt.Sprint("j", n%3), [][]string{{"c0"}, {"c1", "c0"}, {}, {"c1"}}[(n+w)%4]...))
			},
			func(n int) error { _, err := s.PauseJob(t.Context(), fmt.Sprint("j", n%3), n%2 == 0); return err },
			func(n int) error {
				if n%5 > 0 {
					return nil
				}
				return s.DeleteJob(t.Context(), fmt.Sprint("j", n%3))
			},
		} {
			go func() {
				for n := range rounds {
					if err := step(n); err != nil && crony.CodeOf(err) != crony.NotFound {
						done <- fmt.Errorf("part %d: %w", part, err)
						return
					}
				}
				done <- nil
			}()
		}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	checkCalendars(t, client, start, r.put("end", ""))
}

func checkCalendars(t *testing.T, client *clientv3.Client, from, to int64) {
	held, defs := map[string]crony.Calendar{}, map[string]crony.Definition{}
	seen := 0
	look := func(rev int64) {
		for name, def := range defs {
			for _, c := range def.Calendars {
				seen++
				if !cmp.Equal(held[c.Name], c) {
					t.Errorf("revision %d: %s has %+v, the store %+v", rev, name, c, held[c.Name])
				}
			}
		}
	}
	rev := from
	for resp := range client.Watch(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment()) {
		for _, e := range resp.Events {
			if e.Kv.ModRevision != rev {
				look(rev)
				rev = e.Kv.ModRevision
			}
			if rev == to {
				if seen == 0 {
					t.Error("no job was seen with a calendar")
				}
				return
			}
			kind, name := split(string(e.Kv.Key))
			gone := e.Type == clientv3.EventTypeDelete
			switch {
			case kind == specs && gone:
				delete(defs, name)
			case kind == specs:
				def, err := decode[crony.Definition](e.Kv.Value)
				if err != nil {
					t.Fatal(err)
				}
				defs[name] = def
			case kind == calendars && gone:
				delete(held, name)
			case kind == calendars:
				c, err := decode[calendar](e.Kv.Value)
				if err != nil {
					t.Fatal(err)
				}
				held[name] = c.Calendar
			}
		}
	}
	t.Fatal("the watch ended")
}

// TestCalendarsAreReadAgain opens a second store on what a first wrote.
func TestCalendarsAreReadAgain(t *testing.T) {
	client := emptied(t)
	r := newRig(t, client)
	if _, err := r.Define(crony.WithActor(t.Context(), "eve"), crony.Manifest{Calendars: off("c", "2027-01-01")}, crony.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	r.must(r.apply(nil, storetest.Keeper("b", "c"), storetest.Keeper("a", "c")))
	want, err := r.ListCalendars(t.Context())
	r.must(err)
	again := newRig(t, client)
	got, err := again.ListCalendars(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-written +read):\n%s", err, diff)
	}
	if c := got[0]; c.UpdatedBy != "eve" || !c.UpdatedAt.Equal(noon) || !slices.Equal(c.Jobs, []string{"a", "b"}) {
		t.Errorf("read again: %+v", c)
	}
	defs := [2]*crony.Definition{again.look("a").def, again.look("b").def}
	if &defs[0].Calendars[0].DaysOff[0] != &defs[1].Calendars[0].DaysOff[0] {
		t.Error("two jobs have each a copy of the calendar that they keep")
	}
	again.must(again.apply(off("c", "2027-01-02")))
	r.must(r.sync(t.Context()))
	r.agree()
}

// TestCalendarOfTooMany changes a calendar that more jobs keep than can change at once.
func TestCalendarOfTooMany(t *testing.T) {
	r := newRig(t, emptied(t))
	r.must(r.apply(off("c")))
	const batch, batches = 1000, 9
	var names []string
	for b := range batches {
		jobs := make([]crony.Job, batch)
		for n := range jobs {
			jobs[n] = storetest.Keeper(fmt.Sprintf("job-%d-%03d", b, n), "c")
			names = append(names, jobs[n].Name)
		}
		r.must(r.apply(nil, jobs...))
	}
	r.give("a1", names...)
	err := r.apply(off("c", "2027-01-01"))
	if crony.CodeOf(err) != crony.TooLarge || !strings.Contains(err.Error(), "9000 jobs keep a calendar that changes") {
		t.Errorf("a calendar of 9,000 jobs: %v", err)
	}
	if c, err := r.Calendar(t.Context(), "c"); err != nil || len(c.Calendar.DaysOff) > 0 || len(c.Jobs) != batch*batches {
		t.Errorf("it is %+v, %v", c.Calendar, err)
	}
	big := slices.Repeat([]string{"2027-02-05/2027-02-11"}, 1000)
	var jobs []crony.Job
	for n := range 200 {
		jobs = append(jobs, storetest.Keeper(fmt.Sprint("big-", n), "big"))
	}
	r.must(r.apply(off("big", big...), jobs...))
	err = r.apply(off("big", big[1:]...))
	if crony.CodeOf(err) != crony.TooLarge || !strings.Contains(err.Error(), "200 jobs keep a calendar that changes") {
		t.Errorf("a calendar of 24 KB and 200 jobs: %v", err)
	}
	r.agree()
}

// TestKeepersFollowFromTheJobs defines and removes jobs in any order, and looks anew after each who keeps what.
func TestKeepersFollowFromTheJobs(t *testing.T) {
	random, m := rand.New(rand.NewPCG(3, 3)), newMirror(time.Now)
	want, most := map[string][]string{}, 0 // the calendars of each job
	for rev := int64(1); rev < 2000; rev++ {
		name := fmt.Sprint("job-", random.IntN(5))
		e := change{kv: &mvccpb.KeyValue{Key: []byte(specs + name), ModRevision: rev}, deleted: random.IntN(3) == 0}
		delete(want, name)
		if !e.deleted {
			for _, n := range random.Perm(3)[:random.IntN(4)] {
				want[name] = append(want[name], fmt.Sprint("c", n))
			}
			e.kv.Value = []byte(encode(crony.Definition{Job: storetest.Keeper(name, want[name]...)}))
		}
		if errs := m.update([]change{e}, rev); len(errs) > 0 {
			t.Fatal(errs)
		}
		for n := range 3 {
			var jobs []string
			for job, keeps := range want {
				if slices.Contains(keeps, fmt.Sprint("c", n)) {
					jobs = append(jobs, job)
				}
			}
			_, got := m.calendar(fmt.Sprint("c", n))
			slices.Sort(jobs)
			slices.Sort(got)
			if most = max(most, len(got)); !slices.Equal(got, jobs) {
				t.Fatalf("c%d is kept by %v, want %v", n, got, jobs)
			}
		}
	}
	if most < 4 {
		t.Errorf("no calendar was kept by more than %d", most)
	}
}
