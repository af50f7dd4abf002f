package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// Fleet is what others than people do to the store that is tested. Each returns when the store shows it, and ends the test
// if it can't.
type Fleet struct {
	// Place sees to it that an agent has the job. Until it is called, no agent has any; then others may be placed as well.
	Place func(job string)
	// Take takes the order to start the job, as the job's agent does.
	Take func(job string, run crony.RunID)
}

// Jobs tests a [crony.Jobs]. Open returns an empty one, for the time of the test that it is given.
func Jobs(t *testing.T, open func(t *testing.T) (crony.Jobs, Fleet)) {
	for name, test := range map[string]func(*jobsTest, context.Context){
		"unknown job":             (*jobsTest).unknown,
		"life of a job":           (*jobsTest).life,
		"kept as it was written":  (*jobsTest).asWritten,
		"several at once":         (*jobsTest).several,
		"all or nothing":          (*jobsTest).allOrNothing,
		"dry run":                 (*jobsTest).dryRun,
		"preconditions":           (*jobsTest).preconditions,
		"one of many creates":     (*jobsTest).oneCreates,
		"nothing is lost":         (*jobsTest).nothingLost,
		"together or not":         (*jobsTest).together,
		"own writes are seen":     (*jobsTest).ownWrites,
		"pages":                   (*jobsTest).pages,
		"pages while jobs change": (*jobsTest).pagesWhileJobsChange,
		"search":                  (*jobsTest).search,
		"wrong queries":           (*jobsTest).wrongQueries,
		"pause":                   (*jobsTest).pause,
		"start":                   (*jobsTest).start,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			store, fleet := open(t)
			test(&jobsTest{T: t, store: store, fleet: fleet}, ctx)
		})
	}
}

// Job returns a job without a schedule, so that nothing runs by itself.
func Job(name, note string) crony.Job {
	return crony.Job{Name: name, Note: note, Shell: &crony.Shell{Argv: []string{"true"}}}
}

// jobsTest is one test of the suite.
type jobsTest struct {
	*testing.T
	store crony.Jobs
	fleet Fleet
}

// apply applies jobs and returns what was done, as "name action generation".
func (t *jobsTest) apply(ctx context.Context, opts crony.ApplyOptions, jobs ...crony.Job) []string {
	t.Helper()
	applied, err := t.store.Define(ctx, crony.Manifest{Jobs: jobs}, opts)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return said(applied)
}

func said(applied []crony.Applied) []string {
	lines := make([]string, 0, len(applied))
	for _, a := range applied {
		lines = append(lines, fmt.Sprintf("%s %s %d", a.Name, a.Action, a.Generation))
	}
	return lines
}

func (t *jobsTest) want(what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (t *jobsTest) job(ctx context.Context, name string) crony.JobStatus {
	t.Helper()
	j, err := t.store.Job(ctx, name)
	if err != nil {
		t.Fatalf("job %s: %v", name, err)
	}
	return j
}

// refused checks that an error has a code and, where something can be done about it, a hint.
func (t *jobsTest) refused(what string, err error, code crony.Code, hint bool) {
	t.Helper()
	if crony.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	if e, _ := errors.AsType[*crony.Error](err); hint && e.Hint == "" {
		t.Errorf("%s: %v, want a hint", what, err)
	}
}

func (t *jobsTest) unknown(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("backup", ""))
	for what, call := range map[string]func(name string) error{
		"job":    func(name string) error { _, err := t.store.Job(ctx, name); return err },
		"pause":  func(name string) error { _, err := t.store.PauseJob(ctx, name, true); return err },
		"resume": func(name string) error { _, err := t.store.PauseJob(ctx, name, false); return err },
		"delete": func(name string) error { return t.store.DeleteJob(ctx, name) },
		"start":  func(name string) error { _, err := t.store.StartJob(ctx, name); return err },
	} {
		for _, name := range []string{"other", "backu", "backup2", "Backup"} {
			t.refused(what+" "+name, call(name), crony.NotFound, true)
		}
	}
}

func (t *jobsTest) life(ctx context.Context) {
	t.want("create", t.apply(ctx, crony.ApplyOptions{}, Job("backup", "one")), "backup created 1")
	first := t.job(ctx, "backup")
	if first.UID == "" || first.CreatedAt.IsZero() || !first.UpdatedAt.Equal(first.CreatedAt) || first.Generation != 1 {
		t.Errorf("a new job is %+v", first.Definition)
	}
	if first.Assigned != 0 || len(first.Assignments) > 0 || first.Waiting == "" {
		t.Errorf("no agent has it: %+v, waiting %q; want a reason", first.Assignments, first.Waiting)
	}
	t.want("the same again", t.apply(ctx, crony.ApplyOptions{}, Job("backup", "one")), "backup unchanged 1")
	if diff := cmp.Diff(first, t.job(ctx, "backup")); diff != "" {
		t.Errorf("applying what stands changed it (-before +after):\n%s", diff)
	}
	t.want("a change", t.apply(ctx, crony.ApplyOptions{}, Job("backup", "two")), "backup updated 2")
	second := t.job(ctx, "backup")
	if second.UID != first.UID || !second.CreatedAt.Equal(first.CreatedAt) || second.Generation != 2 || second.Job.Note != "two" ||
		second.UpdatedAt.Before(first.UpdatedAt) {
		t.Errorf("changed from %+v to %+v", first.Definition, second.Definition)
	}
	if err := t.store.DeleteJob(ctx, "backup"); err != nil {
		t.Fatal(err)
	}
	_, err := t.store.Job(ctx, "backup")
	t.refused("a deleted job", err, crony.NotFound, true)
	t.want("what is left", t.all(ctx, crony.JobQuery{}))
	t.want("made again", t.apply(ctx, crony.ApplyOptions{}, Job("backup", "two")), "backup created 1")
	if again := t.job(ctx, "backup"); again.UID == first.UID || again.Generation != 1 {
		t.Errorf("a job made again under its name is %+v; want another uid than %s", again.Definition, first.UID)
	}
}

func (t *jobsTest) asWritten(ctx context.Context) {
	want := crony.Job{
		Name: "a.b_c-9", Title: "Sauvegarde «nuit» 备份 😀", Group: "ops", Labels: map[string]string{"Tier.x": "1: yes", "empty": ""},
		Owner: "null", Note: "line one\nline two\t\"quoted\" \\ \u0085\u2028 ~", Schedule: "0 3 29 2 *",
		Timeout: crony.Duration(90 * time.Minute), KillGrace: crony.Duration(5 * time.Second),
		Shell: &crony.Shell{Interpreter: "/bin/bash", Script: "#!x\n\techo '1'  \n\n# end\n", Cwd: "/tmp",
			Env: map[string]string{"A": "true", "B": "0x10", "_": ""}, Stdin: " in ",
			Limits: &crony.Limits{Output: 3 * crony.MiB / 2}},
	}
	t.apply(ctx, crony.ApplyOptions{}, want)
	got := t.job(ctx, want.Name)
	if diff := cmp.Diff(want, got.Job); diff != "" {
		t.Errorf("applied and read (-want +got):\n%s", diff)
	}
	if got.NextAt.Month() != time.February || got.NextAt.Day() != 29 {
		t.Errorf("its next occurrence is %v, want one on 29 February", got.NextAt)
	}
}

func (t *jobsTest) several(ctx context.Context) {
	t.want("create", t.apply(ctx, crony.ApplyOptions{}, Job("b", "1"), Job("c", "1")), "b created 1", "c created 1")
	t.want("mixed", t.apply(ctx, crony.ApplyOptions{}, Job("c", "2"), Job("a", "1"), Job("b", "1")),
		"c updated 2", "a created 1", "b unchanged 1")
	t.want("none", t.apply(ctx, crony.ApplyOptions{}))
}

func (t *jobsTest) allOrNothing(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("a", "1"))
	twice := crony.Manifest{Jobs: []crony.Job{Job("a", "2"), Job("b", "1"), Job("a", "3")}}
	_, err := t.store.Define(ctx, twice, crony.ApplyOptions{})
	t.refused("a job given twice", err, crony.Invalid, false)
	both := crony.Manifest{Jobs: []crony.Job{Job("a", "2"), Job("b", "1")}}
	_, err = t.store.Define(ctx, both, crony.ApplyOptions{IfGeneration: new(int64(1))})
	t.refused("one condition for two jobs", err, crony.Invalid, false)
	t.want("what is there", t.all(ctx, crony.JobQuery{}), "a 1 1")
}

func (t *jobsTest) dryRun(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("a", "1"), Job("b", "1"))
	dry := crony.ApplyOptions{DryRun: true}
	t.want("what would be done", t.apply(ctx, dry, Job("a", "2"), Job("b", "1"), Job("c", "1")),
		"a updated 2", "b unchanged 1", "c created 1")
	t.want("what is there", t.all(ctx, crony.JobQuery{}), "a 1 1", "b 1 1")
	dry.IfGeneration = new(int64(2))
	_, err := t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job("a", "2")}}, dry)
	t.refused("a dry run on a condition that does not hold", err, crony.Conflict, true)
}

func (t *jobsTest) preconditions(ctx context.Context) {
	on := func(generation int64) crony.ApplyOptions { return crony.ApplyOptions{IfGeneration: &generation} }
	_, err := t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job("a", "1")}}, on(1))
	t.refused("a change of a job that is not there", err, crony.Conflict, true)
	t.want("a new job", t.apply(ctx, on(0), Job("a", "1")), "a created 1")
	_, err = t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job("a", "2")}}, on(0))
	t.refused("a new job that is there", err, crony.Conflict, true)
	t.want("a change", t.apply(ctx, on(1), Job("a", "2")), "a updated 2")
	for _, generation := range []int64{1, 3} {
		_, err = t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job("a", "3")}}, on(generation))
		t.refused(fmt.Sprintf("a change of generation %d", generation), err, crony.Conflict, true)
	}
	t.want("no change", t.apply(ctx, on(2), Job("a", "2")), "a unchanged 2")
	t.want("what is there", t.all(ctx, crony.JobQuery{}), "a 2 2")
}

func (t *jobsTest) oneCreates(ctx context.Context) {
	const writers = 16
	results := make([]error, writers)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			m := crony.Manifest{Jobs: []crony.Job{Job("a", fmt.Sprint(n))}}
			_, results[n] = t.store.Define(ctx, m, crony.ApplyOptions{IfGeneration: new(int64)})
		})
	}
	all.Wait()
	j, made := t.job(ctx, "a"), 0
	for n, err := range results {
		switch {
		case err != nil:
			t.refused("a later one", err, crony.Conflict, true)
		case j.Job.Note != fmt.Sprint(n):
			t.Errorf("writer %d created it, but it holds what %s wrote", n, j.Job.Note)
		default:
			made++
		}
	}
	if made != 1 || j.Generation != 1 {
		t.Errorf("%d of %d created the job, which is at generation %d; want one, and 1", made, writers, j.Generation)
	}
}

// nothingLost has many change the same job at once: every change has a generation of its own.
func (t *jobsTest) nothingLost(ctx context.Context) {
	const writers, changes = 32, 4
	var (
		mu    sync.Mutex
		wrote = map[int64]string{}
		all   sync.WaitGroup
	)
	for w := range writers {
		all.Go(func() {
			for n := range changes {
				note := fmt.Sprintf("%d/%d", w, n)
				applied, err := t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job("a", note)}}, crony.ApplyOptions{})
				if err != nil {
					t.Errorf("%s: %v", note, err)
					return
				}
				mu.Lock()
				if before, twice := wrote[applied[0].Generation]; twice {
					t.Errorf("%s and %s are both generation %d", before, note, applied[0].Generation)
				}
				wrote[applied[0].Generation] = note
				mu.Unlock()
			}
		})
	}
	all.Wait()
	const last = writers * changes
	if j := t.job(ctx, "a"); j.Generation != last || j.Job.Note != wrote[last] {
		t.Errorf("after %d changes it is %q at generation %d; want %q", last, j.Job.Note, j.Generation, wrote[last])
	}
}

// together has many apply the same jobs at once, each with a note of its own: those of one are never mixed with another's.
func (t *jobsTest) together(ctx context.Context) {
	const writers = 8
	names := []string{"a", "b", "c", "d"}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			jobs := make([]crony.Job, 0, len(names))
			for i := range names {
				jobs = append(jobs, Job(names[(i+w)%len(names)], fmt.Sprint(w)))
			}
			if _, err := t.store.Define(ctx, crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	all.Wait()
	notes := map[string]bool{}
	for _, name := range names {
		j := t.job(ctx, name)
		notes[j.Job.Note] = true
		if j.Generation != writers {
			t.Errorf("%s is at generation %d, want %d", name, j.Generation, writers)
		}
	}
	if len(notes) != 1 {
		t.Errorf("the jobs hold what %d wrote: %v", len(notes), notes)
	}
}

func (t *jobsTest) ownWrites(ctx context.Context) {
	var all sync.WaitGroup
	for w := range 4 {
		name := fmt.Sprintf("job-%d", w)
		all.Go(func() {
			for n := range 25 {
				note := fmt.Sprint(n)
				if _, err := t.store.Define(ctx, crony.Manifest{Jobs: []crony.Job{Job(name, note)}}, crony.ApplyOptions{}); err != nil {
					t.Error(err)
					return
				}
				if j, err := t.store.Job(ctx, name); err != nil || j.Job.Note != note {
					t.Errorf("%s was written and %q read, %v", note, j.Job.Note, err)
				}
				p, err := t.store.ListJobs(ctx, crony.JobQuery{Search: name})
				if err != nil || len(p.Items) != 1 || p.Items[0].Job.Note != note {
					t.Errorf("%s was written and %+v listed, %v", note, p, err)
				}
			}
		})
	}
	all.Wait()
}

func (t *jobsTest) pause(ctx context.Context) {
	job := Job("backup", "x")
	job.Schedule = "0 0 1 1 *"
	t.apply(ctx, crony.ApplyOptions{}, job)
	for _, step := range []struct {
		paused     bool
		generation int64
	}{{false, 1}, {true, 2}, {true, 2}, {false, 3}, {false, 3}} {
		got, err := t.store.PauseJob(ctx, "backup", step.paused)
		if err != nil {
			t.Fatal(err)
		}
		job.Paused = step.paused
		if diff := cmp.Diff(job, got.Job); diff != "" {
			t.Errorf("paused %v (-want +got):\n%s", step.paused, diff)
		}
		if got.Generation != step.generation || got.NextAt.IsZero() != step.paused {
			t.Errorf("paused %v: generation %d, next at %v; want generation %d", step.paused, got.Generation, got.NextAt, step.generation)
		}
		if diff := cmp.Diff(got, t.job(ctx, "backup")); diff != "" {
			t.Errorf("paused %v, and read (-said +read):\n%s", step.paused, diff)
		}
	}
}

func (t *jobsTest) start(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("a", "1"))
	_, err := t.store.StartJob(ctx, "a")
	t.refused("a start without an agent", err, crony.Unavailable, true)
	t.fleet.Place("a")
	j := t.job(ctx, "a")
	if len(j.Assignments) != 1 || j.Assigned != 1 || j.Waiting != "" {
		t.Fatalf("a placed job has %d assignments: %+v, waiting %q", j.Assigned, j.Assignments, j.Waiting)
	}
	if a := j.Assignments[0]; a.Job != "a" || a.Agent == "" || a.Generation != 1 || a.Epoch == 0 || a.Reason == "" || a.Since.IsZero() {
		t.Errorf("a placed job has the assignment %+v", a)
	}
	first, err := t.store.StartJob(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := crony.ParseRunID(string(first)); err != nil {
		t.Error(err)
	}
	_, err = t.store.StartJob(ctx, "a")
	t.refused("a start while an order waits", err, crony.Conflict, true)
	t.fleet.Take("a", first)
	second, err := t.store.StartJob(ctx, "a")
	if err != nil || second == first {
		t.Errorf("a start after the first was taken: %s, %v; want another id than %s", second, err, first)
	}
}
