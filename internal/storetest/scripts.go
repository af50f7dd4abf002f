package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// ScriptStore is where scripts are defined, with the jobs that name them, and looked up.
type ScriptStore interface {
	crony.Jobs
	crony.Calendars
	crony.Scripts
}

// Scripts tests a [crony.Scripts] together with the [crony.Jobs] that defines what is in it. Open returns an empty one, for
// the time of the test that it is given.
func Scripts(t *testing.T, open func(t *testing.T) ScriptStore) {
	for name, test := range map[string]func(*scriptsTest, context.Context){
		"life of a script":                (*scriptsTest).life,
		"scripts as written":              (*scriptsTest).asWritten,
		"scripts in order":                (*scriptsTest).inOrder,
		"a change reaches those jobs":     (*scriptsTest).reaches,
		"kept until no job names it":      (*scriptsTest).kept,
		"refused scripts":                 (*scriptsTest).refusals,
		"dry run of a script":             (*scriptsTest).dryRun,
		"a calendar of the same name":     (*scriptsTest).beside,
		"many name and many change":       (*scriptsTest).many,
		"name or delete at the same time": (*scriptsTest).nameOrDelete,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			store := open(t)
			test(&scriptsTest{calendarsTest: &calendarsTest{T: t, store: store}, scripts: store}, ctx)
		})
	}
}

// Prepared returns a job that names scripts.
func Prepared(name string, scripts ...string) crony.Job {
	j := Job(name, "")
	j.Scripts = scripts
	return j
}

// Script returns a script.
func Script(name, text string) crony.Script { return crony.Script{Name: name, Script: text} }

// scriptsTest is one test of the suite.
type scriptsTest struct {
	*calendarsTest
	scripts crony.Scripts
}

// script checks what a script is, and who names it.
func (t *scriptsTest) script(ctx context.Context, want crony.Script, jobs ...string) crony.ScriptStatus {
	t.Helper()
	got, err := t.scripts.Script(ctx, want.Name)
	if err != nil {
		t.Fatalf("script %s: %v", want.Name, err)
	}
	if diff := cmp.Diff(crony.ScriptStatus{Script: want, Jobs: jobs}, got, cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(crony.ScriptStatus{}, "UpdatedAt", "UpdatedBy")); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
	if got.UpdatedAt.IsZero() || got.Jobs == nil {
		t.Errorf("script %s was changed at %v, and is named by %#v", want.Name, got.UpdatedAt, got.Jobs)
	}
	return got
}

func (t *scriptsTest) life(ctx context.Context) {
	t.defined(ctx, []any{Script("s", "a")}, "script s created 0")
	first := t.script(ctx, Script("s", "a"))
	t.defined(ctx, []any{Script("s", "a")}, "script s unchanged 0")
	if again := t.script(ctx, Script("s", "a")); !again.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("defining what stands changed it: %v, then %v", first.UpdatedAt, again.UpdatedAt)
	}
	t.defined(ctx, []any{Script("s", "b")}, "script s updated 0")
	t.script(ctx, Script("s", "b"))
	for _, name := range []string{"sx", "S", "other"} {
		_, err := t.scripts.Script(ctx, name)
		t.refused("look "+name+" up", err, crony.NotFound, name)
		t.refused("delete "+name, t.scripts.DeleteScript(ctx, name), crony.NotFound, name)
	}
	if err := t.scripts.DeleteScript(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	_, err := t.scripts.Script(ctx, "s")
	t.refused("a deleted script", err, crony.NotFound, "s")
	t.defined(ctx, []any{Script("s", "a")}, "script s created 0")
}

func (t *scriptsTest) asWritten(ctx context.Context) {
	want := crony.Script{Name: "a.b_c-9", Interpreter: "/bin/bash", Timeout: 90e9, Script: "set -e\n\necho '\t日'\n"}
	t.defined(ctx, []any{want}, "script a.b_c-9 created 0")
	t.script(ctx, want)
	t.defined(ctx, []any{want, Prepared("j", want.Name)}, "script a.b_c-9 unchanged 0", "job j created 1")
	if diff := cmp.Diff([]crony.Script{want}, t.job(ctx, "j").Scripts); diff != "" {
		t.Errorf("in a job's definition (-want +got):\n%s", diff)
	}
	t.defined(ctx, []any{Prepared("j", want.Name)}, "job j unchanged 1")
}

func (t *scriptsTest) inOrder(ctx context.Context) {
	list := func() (lines []string) {
		all, err := t.scripts.ListScripts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			lines = append(lines, fmt.Sprintf("%s %s %v", s.Script.Name, s.Script.Script, s.Jobs))
		}
		return lines
	}
	if none := list(); len(none) > 0 {
		t.Errorf("an empty store has the scripts %v", none)
	}
	t.defined(ctx, []any{Script("b", "1"), Script("a.x", "2"), Script("a", "3"),
		Prepared("z", "b", "a"), Prepared("y", "b"), Prepared("x")},
		"script b created 0", "script a.x created 0", "script a created 0",
		"job z created 1", "job y created 1", "job x created 1")
	t.expect("scripts", list(), "a 3 [z]", "a.x 2 []", "b 1 [y z]")
	if got := t.job(ctx, "z").Scripts; len(got) != 2 || got[0].Name != "b" || got[1].Name != "a" {
		t.Errorf("a job has its scripts as %+v, want them in its own order", got)
	}
	t.defined(ctx, []any{Prepared("z", "a", "b")}, "job z updated 2")
	t.defined(ctx, []any{Prepared("z", "a.x", "a")}, "job z updated 3")
	if err := t.store.DeleteJob(ctx, "y"); err != nil {
		t.Fatal(err)
	}
	t.expect("scripts when jobs have let go", list(), "a 3 [z]", "a.x 2 [z]", "b 1 []")
}

func (t *scriptsTest) expect(what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// reaches holds that a script's change is a new generation of the jobs that name it, of no others, and moves nothing of when
// they are due.
func (t *scriptsTest) reaches(ctx context.Context) {
	t.defined(ctx, []any{Script("a", "1"), Script("b", "1"), Prepared("ja", "a"), Prepared("jb", "b"), Prepared("jab", "b", "a"),
		Prepared("j")}, "script a created 0", "script b created 0",
		"job ja created 1", "job jb created 1", "job jab created 1", "job j created 1")
	before := map[string]crony.JobStatus{}
	for _, name := range []string{"j", "jb", "ja", "jab"} {
		before[name] = t.job(ctx, name)
	}
	t.defined(ctx, []any{Script("a", "2"), Script("b", "1")}, "script a updated 0", "script b unchanged 0")
	for _, name := range []string{"ja", "jab"} {
		j := t.job(ctx, name)
		if j.Generation != 2 || j.Scripts[len(j.Scripts)-1] != Script("a", "2") || !j.PlanSince.Equal(before[name].PlanSince) ||
			j.UID != before[name].UID {
			t.Errorf("%s, after a script of it has changed: %+v", name, j.Definition)
		}
	}
	for _, name := range []string{"j", "jb"} {
		if diff := cmp.Diff(before[name].Definition, t.job(ctx, name).Definition); diff != "" {
			t.Errorf("%s, which does not name it (-before +after):\n%s", name, diff)
		}
	}
	t.defined(ctx, []any{Script("a", "3"), Prepared("ja"), Prepared("jb", "b")},
		"script a updated 0", "job ja updated 3", "job jb unchanged 1")
	if ja, jab := t.job(ctx, "ja"), t.job(ctx, "jab"); len(ja.Scripts) > 0 || jab.Generation != 3 || jab.Scripts[1].Script != "3" {
		t.Errorf("in the manifest: %+v; beside it: %+v", ja.Scripts, jab.Scripts)
	}
	for _, paused := range []bool{true, false} {
		if _, err := t.store.PauseJob(ctx, "jab", paused); err != nil {
			t.Fatal(err)
		}
	}
	if j := t.job(ctx, "jab"); len(j.Scripts) != 2 || j.Generation != 5 {
		t.Errorf("paused and resumed: %+v", j.Definition)
	}
}

func (t *scriptsTest) kept(ctx context.Context) {
	t.defined(ctx, []any{Script("s", "1"), Prepared("b", "s"), Prepared("a", "s")},
		"script s created 0", "job b created 1", "job a created 1")
	t.refused("a script that is named", t.scripts.DeleteScript(ctx, "s"), crony.Conflict, "2 jobs name the script s: a, b")
	if err := t.store.DeleteJob(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	t.refused("a script that is named", t.scripts.DeleteScript(ctx, "s"), crony.Conflict, "1 job names the script s: a")
	t.defined(ctx, []any{Prepared("a")}, "job a updated 2")
	if err := t.scripts.DeleteScript(ctx, "s"); err != nil {
		t.Errorf("a script that no job names any more: %v", err)
	}
}

func (t *scriptsTest) refusals(ctx context.Context) {
	t.defined(ctx, []any{Script("s", "1")}, "script s created 0")
	_, err := t.define(ctx, crony.ApplyOptions{}, Script("s", "2"), Script("new", "1"),
		Prepared("a", "s"), Prepared("b", "s", "none"))
	t.refused("a script that there is not", err, crony.Invalid, `there is no script "none"`)
	e, ok := errors.AsType[*crony.Error](err)
	if !ok || len(e.Faults) != 1 || e.Faults[0].Path != "jobs[1].scripts[1]" || e.Faults[0].Hint == "" {
		t.Errorf("faults: %+v", err)
	}
	_, err = t.define(ctx, crony.ApplyOptions{}, Script("new", "1"), Script("new", "1"))
	t.refused("a script given twice", err, crony.Invalid, "")
	generation := int64(0)
	_, err = t.define(ctx, crony.ApplyOptions{IfGeneration: &generation}, Script("new", "1"), Prepared("a", "new"))
	t.refused("a condition for a script", err, crony.Invalid, "")
	t.script(ctx, Script("s", "1"))
	if all, err := t.scripts.ListScripts(ctx); err != nil || len(all) != 1 {
		t.Errorf("scripts: %+v, %v; want none of those refused", all, err)
	}
	if p, err := t.store.ListJobs(ctx, crony.JobQuery{}); err != nil || len(p.Items) > 0 {
		t.Errorf("jobs: %+v, %v; want none", p.Items, err)
	}
}

func (t *scriptsTest) dryRun(ctx context.Context) {
	t.defined(ctx, []any{Script("s", "1"), Prepared("j", "s")}, "script s created 0", "job j created 1")
	got, err := t.define(ctx, crony.ApplyOptions{DryRun: true}, Script("s", "2"), Script("r", "1"), Prepared("k", "r"))
	if err != nil {
		t.Fatal(err)
	}
	t.expect("what would be done", got, "script s updated 0", "script r created 0", "job k created 1")
	t.script(ctx, Script("s", "1"), "j")
	if j := t.job(ctx, "j"); j.Generation != 1 {
		t.Errorf("a dry run made generation %d", j.Generation)
	}
}

// beside has a calendar and a script of one name: neither is the other.
func (t *scriptsTest) beside(ctx context.Context) {
	both := Keeper("both", "x")
	both.Scripts = []string{"x"}
	t.defined(ctx, []any{DaysOff("x"), Script("x", "1"), both, Keeper("keeps", "x"), Prepared("names", "x")},
		"calendar x created 0", "script x created 0", "job both created 1", "job keeps created 1", "job names created 1")
	t.calendar(ctx, DaysOff("x"), "both", "keeps")
	t.script(ctx, Script("x", "1"), "both", "names")
	t.defined(ctx, []any{DaysOff("x", farOff), Script("x", "2")}, "calendar x updated 0", "script x updated 0")
	if j := t.job(ctx, "both"); j.Generation != 2 || j.Scripts[0].Script != "2" || len(j.Calendars[0].DaysOff) != 1 {
		t.Errorf("a job of which both have changed at once: %+v", j.Definition)
	}
	for _, name := range []string{"both", "names"} {
		if err := t.store.DeleteJob(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := t.scripts.DeleteScript(ctx, "x"); err != nil {
		t.Error(err)
	}
	t.calendar(ctx, DaysOff("x", farOff), "keeps")
}

// many has jobs begin and cease to name a script while it changes. In the end whoever names it has it as it is.
func (t *scriptsTest) many(ctx context.Context) {
	t.defined(ctx, []any{Script("s", "0")}, "script s created 0")
	const writers, rounds = 3, 6
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range rounds {
				stays, goes := Prepared(fmt.Sprintf("j%d-%d", w, n), "s"), Prepared(fmt.Sprint("k", w), []string{"s"}[n%2:]...)
				if _, err := t.define(ctx, crony.ApplyOptions{}, stays, goes); err != nil {
					t.Errorf("name: %v", err)
				}
			}
		})
		all.Go(func() {
			for n := range rounds {
				if _, err := t.define(ctx, crony.ApplyOptions{}, Script("s", strings.Repeat("x", 1+w*rounds+n))); err != nil {
					t.Errorf("change: %v", err)
				}
			}
		})
	}
	all.Wait()
	s, err := t.scripts.Script(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Jobs) != writers*rounds {
		t.Errorf("%d jobs name it, want %d", len(s.Jobs), writers*rounds)
	}
	for _, name := range s.Jobs {
		if diff := cmp.Diff([]crony.Script{s.Script}, t.job(ctx, name).Scripts); diff != "" {
			t.Errorf("%s (-the script +the job's):\n%s", name, diff)
		}
	}
}

// nameOrDelete has a job begin to name a script while it is deleted: one of the two must fail.
func (t *scriptsTest) nameOrDelete(ctx context.Context) {
	for n := range 10 {
		name := fmt.Sprint("s", n)
		t.defined(ctx, []any{Script(name, "1")}, "script "+name+" created 0")
		var named, deleted error
		var both sync.WaitGroup
		both.Go(func() { _, named = t.define(ctx, crony.ApplyOptions{}, Prepared("j", name)) })
		both.Go(func() { deleted = t.scripts.DeleteScript(ctx, name) })
		both.Wait()
		_, err := t.scripts.Script(ctx, name)
		switch {
		case named == nil && err == nil:
			t.refused("delete a script that is named", deleted, crony.Conflict, "1 job names")
		case deleted == nil && crony.CodeOf(err) == crony.NotFound:
			t.refused("name a deleted script", named, crony.Invalid, "there is no script")
		default:
			t.Errorf("name: %v; delete: %v; then: %v", named, deleted, err)
		}
	}
}
