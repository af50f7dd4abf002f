package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/internal/storetest"
)

func TestJobs(t *testing.T) {
	storetest.Jobs(t, func(t *testing.T) (crony.Jobs, storetest.Fleet) {
		r := newRig(t, emptied(t))
		return r.Store, storetest.Fleet{
			Place: func(job string) { r.give("a1", job) },
			Take: func(job string, run crony.RunID) {
				if err := r.TakeStart(t.Context(), job, run); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// TestHistory changes a job thirty times. What was replaced is kept, of the last twenty changes.
func TestHistory(t *testing.T) {
	r := newRig(t, emptied(t))
	const last = 30
	for n := range last {
		r.define(job1("backup", fmt.Sprint(n+1)), job1("backup-2", fmt.Sprint(n/20)))
	}
	var want []string
	for g := last - kept; g < last; g++ {
		want = append(want, historyKey("backup", int64(g)))
	}
	if diff := cmp.Diff(want, r.keys(history+"backup/")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	resp, err := r.client.Get(t.Context(), historyKey("backup", 17))
	if err != nil {
		t.Fatal(err)
	}
	def, err := decode[crony.Definition](resp.Kvs[0].Value)
	if err != nil || def.Generation != 17 || def.Job.Note != "17" {
		t.Errorf("generation 17 in history is %+v, %v", def, err)
	}
}

func TestDeleteLeavesNothing(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"), job1("a-b", "1"))
	r.define(job1("a", "2"), job1("a-b", "2"))
	r.give("a1", "a", "a-b")
	for _, name := range []string{"a", "a-b"} {
		if _, err := r.StartJob(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	of := func(name string) (list []string) {
		for _, key := range r.keys("") {
			if slices.Contains(strings.Split(key, "/"), name) {
				list = append(list, key)
			}
		}
		return list
	}
	before := of("a-b")
	if len(before) != 5 {
		t.Fatalf("a job has the keys %v, want five", before)
	}
	if err := r.DeleteJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if left := of("a"); len(left) > 0 {
		t.Errorf("left of the job: %v", left)
	}
	if diff := cmp.Diff(before, of("a-b")); diff != "" {
		t.Errorf("another job (-before +after):\n%s", diff)
	}
	if j := r.look("a"); j.rev != 0 || j.newest() != nil || !j.claim.At.IsZero() {
		t.Errorf("the mirror still knows %+v", j)
	}
}

// TestDefinitionAndAssignmentChangeTogether has people, a leader and a deleter at work and looks at every single revision:
// where a job has an assignment, it is of the definition's generation.
func TestDefinitionAndAssignmentChangeTogether(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	start := r.put("begin", "")
	const names, rounds = 3, 40
	term := r.elect()
	var people, all sync.WaitGroup
	done := make(chan struct{})
	for _, s := range []*rig{r, other} {
		people.Go(func() {
			for n := range rounds {
				name := fmt.Sprint("job-", n%names)
				if _, err := s.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{job1(name, fmt.Sprintf("%p %d", s, n))}}, crony.ApplyOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // a leader that places without a pause would let nobody in
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-pace.C:
				}
				var list []crony.Assignment
				for i := range names {
					j := s.look(fmt.Sprint("job-", i))
					if j.rev != 0 {
						list = append(list, crony.Assignment{Job: j.name, Agent: fmt.Sprint("a", n%4), Generation: j.generation()})
					}
				}
				if err := s.Place(t.Context(), term, list); err != nil {
					t.Error(err)
				}
			}
		})
	}
	people.Go(func() {
		for n := range rounds / 2 {
			if err := other.DeleteJob(t.Context(), fmt.Sprint("job-", n%names)); err != nil && crony.CodeOf(err) != crony.NotFound {
				t.Error(err)
			}
		}
	})
	people.Wait()
	close(done)
	all.Wait()
	checkRevisions(t, client, start, r.put("end", ""))
}

// checkRevisions replays the keyspace revision by revision, as any other client of the store sees it.
func checkRevisions(t *testing.T, client *clientv3.Client, from, to int64) {
	specOf, placeOf, places := map[string]int64{}, map[string]int64{}, 0
	look := func(rev int64) {
		homes := map[string]string{}
		for place, generation := range placeOf {
			agent, name, _ := strings.Cut(place, "/")
			if specOf[name] != generation {
				t.Errorf("revision %d: %s is at generation %d, its assignment at %d", rev, name, specOf[name], generation)
			}
			if homes[name] != "" {
				t.Errorf("revision %d: %s is assigned to %s and %s", rev, name, homes[name], agent)
			}
			homes[name] = agent
		}
	}
	rev := from
	for resp := range client.Watch(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment()) {
		for _, e := range resp.Events {
			if e.Kv.ModRevision != rev {
				look(rev)
				rev = e.Kv.ModRevision
			}
			switch kind, name := split(string(e.Kv.Key)); {
			case rev == to:
				if places == 0 || t.Failed() {
					t.Fatalf("%d assignments were seen", places)
				}
				return
			case kind == specs && e.Type == clientv3.EventTypeDelete:
				delete(specOf, name)
			case kind == specs:
				def, err := decode[crony.Definition](e.Kv.Value)
				if err != nil {
					t.Fatal(err)
				}
				specOf[name] = def.Generation
			case kind == jobs && e.Type == clientv3.EventTypeDelete:
				delete(placeOf, name)
			case kind == jobs:
				a, err := decode[crony.Assignment](e.Kv.Value)
				if err != nil {
					t.Fatal(err)
				}
				placeOf[name], places = a.Generation, places+1
			}
		}
	}
	t.Fatal("the watch ended")
}

// TestWritesThroughAServerThatIsBehind has a person write through one server and then another that has not seen it yet.
// Nothing that the second answers may rest on what stood before.
func TestWritesThroughAServerThatIsBehind(t *testing.T) {
	start := func(t *testing.T, r *rig) error { _, err := r.StartJob(t.Context(), "a"); return err }
	apply := func(note string, opts crony.ApplyOptions, want ...crony.Action) func(*testing.T, *rig) error {
		return func(t *testing.T, r *rig) error {
			applied, err := r.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{job1("a", note)}}, opts)
			for i := range want {
				if err == nil && applied[i].Action != want[i] {
					t.Errorf("applied: %+v, want %s", applied, want[i])
				}
			}
			return err
		}
	}
	for name, test := range map[string]struct {
		first, second func(t *testing.T, r *rig) error
		note          string // in the end; "" for no job
	}{
		"back to what it was":         {apply("2", crony.ApplyOptions{}), apply("1", crony.ApplyOptions{}, crony.Updated), "1"},
		"on the generation just made": {apply("2", crony.ApplyOptions{}), apply("3", crony.ApplyOptions{IfGeneration: new(int64(2))}), "3"},
		"a dry run":                   {apply("2", crony.ApplyOptions{}), apply("1", crony.ApplyOptions{DryRun: true}, crony.Updated), "2"},
		"a new job": {
			func(t *testing.T, r *rig) error { return r.DeleteJob(t.Context(), "a") },
			apply("4", crony.ApplyOptions{IfGeneration: new(int64)}, crony.Created), "4"},
		"resume": {
			func(t *testing.T, r *rig) error { _, err := r.PauseJob(t.Context(), "a", true); return err },
			func(t *testing.T, r *rig) error {
				j, err := r.PauseJob(t.Context(), "a", false)
				if err == nil && (j.Job.Paused || j.Generation != 3) {
					t.Errorf("resumed: %+v", j)
				}
				return err
			}, "1"},
		"start": {func(_ *testing.T, r *rig) error { r.give("a1", "a"); return nil }, start, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			client := emptied(t)
			r, behind := newRig(t, client), newRig(t, client)
			r.define(job1("a", "1"))
			behind.wait("both servers to know the job", func() bool { return behind.look("a").rev != 0 })
			behind.link.hold()
			if err := test.first(t, r); err != nil {
				t.Fatal(err)
			}
			done, asked := make(chan error, 1), behind.asked()
			go func() { done <- test.second(t, behind) }()
			select {
			case err := <-done:
				t.Errorf("the server that is behind answered: %v", err)
			case <-asked:
			}
			behind.link.release()
			if err := <-done; err != nil {
				t.Errorf("the server that was behind: %v", err)
			}
			if err := r.sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if j, _ := r.Job(t.Context(), "a"); j.Job.Note != test.note {
				t.Errorf("the job is %q at generation %d, want %q", j.Job.Note, j.Generation, test.note)
			}
		})
	}
}

// defineSlowly defines jobs as a person does on a machine that is busy with other things: what had no answer in time is done
// again, which changes nothing if it came to be.
func (r *rig) defineSlowly(jobs ...crony.Job) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		_, err := r.Define(r.t.Context(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{})
		if err == nil {
			return
		}
		if crony.CodeOf(err) != crony.Unavailable || time.Now().After(deadline) {
			r.t.Fatal(err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r := newRig(t, emptied(t))
	var jobs []crony.Job
	for n := range maxOps + 1 {
		jobs = append(jobs, job1(fmt.Sprintf("job-%04d", n), "1"))
	}
	if _, err := r.Define(t.Context(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); crony.CodeOf(err) != crony.TooLarge {
		t.Errorf("%d jobs: %v, want too_large", len(jobs), err)
	}
	r.defineSlowly(jobs[:maxOps]...)
	half := jobs[:maxOps/2]
	var names []string
	for i := range half {
		half[i].Note = "2"
		names = append(names, half[i].Name)
	}
	r.give("a1", names...)
	r.defineSlowly(half...)
	if j := r.look(names[0]); j.generation() != 2 || j.newest().Generation != 2 {
		t.Errorf("changed at once: %+v, %+v", j.def, j.newest())
	}
	big := slices.Clone(jobs[:100])
	for i := range big {
		big[i].Shell = &crony.Shell{Command: strings.Repeat("x", 200<<10)}
	}
	if _, err := r.Define(t.Context(), crony.Manifest{Jobs: big}, crony.ApplyOptions{}); crony.CodeOf(err) != crony.TooLarge {
		t.Errorf("100 jobs of 200 KiB: %v, want too_large", err)
	}
}

func TestActor(t *testing.T) {
	r := newRig(t, emptied(t))
	if _, err := r.Define(crony.WithActor(t.Context(), "eve"), crony.Manifest{Jobs: []crony.Job{job1("a", "1")}}, crony.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	r.give("a1", "a")
	run, err := r.StartJob(crony.WithActor(t.Context(), "mallory"), "a")
	if err != nil {
		t.Fatal(err)
	}
	order, ok := r.Order("a")
	if by := r.look("a").def.UpdatedBy; by != "eve" || !ok || order.By != "mallory" || order.Agent != "a1" || order.Run != run {
		t.Errorf("changed by %q, ordered %+v", by, order)
	}
	if err := r.TakeStart(t.Context(), "a", crony.NewRunID(noon)); err != nil {
		t.Error(err)
	}
	if again, ok := r.Order("a"); !ok || again != order {
		t.Errorf("after another run's order was taken: %+v, %v", again, ok)
	}
}

func TestCancelledWrites(t *testing.T) {
	r := newRig(t, emptied(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Define(ctx, crony.Manifest{Jobs: []crony.Job{job1("a", "1")}}, crony.ApplyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled write: %v", err)
	}
	r.link.hold()
	ctx, cancel = context.WithTimeout(t.Context(), 50e6)
	defer cancel()
	_, err := r.Define(ctx, crony.Manifest{Jobs: []crony.Job{job1("b", "1")}}, crony.ApplyOptions{})
	if crony.CodeOf(err) != crony.Unavailable || !strings.Contains(err.Error(), "was made") {
		t.Errorf("a write that is not shown in time: %v", err)
	}
	done, asked := make(chan error, 1), r.asked()
	go func() {
		_, err := r.Define(context.WithoutCancel(ctx), crony.Manifest{Jobs: []crony.Job{job1("c", "1")}}, crony.ApplyOptions{})
		done <- err
	}()
	<-asked
	r.Close()
	if err := <-done; crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("a write while the store is closed: %v", err)
	}
	r.link.release()
}

// TestRetentions has some of many jobs say how much of their history is kept.
func TestRetentions(t *testing.T) {
	r := newRig(t, emptied(t))
	want := map[string]crony.Retention{}
	var jobs []crony.Job
	for n := range stride * 6 / 10 {
		jobs = append(jobs, job1(fmt.Sprintf("job-%04d", n), "x"))
		if n%300 == 7 {
			jobs[n].Retention = &crony.Retention{Runs: n}
			want[jobs[n].Name] = *jobs[n].Retention
		}
	}
	r.define(jobs...)
	if got := maps.Collect(r.Retentions()); len(want) == 0 || !maps.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range r.Retentions() {
		break
	}
}

// TestListManyJobs lists more jobs than are looked at in one go.
func TestListManyJobs(t *testing.T) {
	r := newRig(t, emptied(t))
	var want []string
	for batch := range 2 {
		var jobs []crony.Job
		for n := range stride * 6 / 10 {
			name := fmt.Sprintf("job-%04d", (batch*stride+n)*7919%10_000)
			jobs = append(jobs, job1(name, strconv.Itoa(n%300)))
			jobs[n].Title = fmt.Sprintf("T%d", n%300)
			if n%300 == 7 {
				want = append(want, name)
			}
		}
		r.define(jobs...)
	}
	slices.Sort(want)
	for _, limit := range []int{1, 2, 100} {
		var got []string
		q := crony.JobQuery{Search: "t7", Limit: limit}
		for {
			p, err := r.ListJobs(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range p.Items {
				if j.Job.Title == "T7" {
					got = append(got, j.Job.Name)
				}
			}
			if q.Cursor = p.Next; q.Cursor == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", limit, diff)
		}
	}
}
