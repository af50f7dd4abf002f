package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/storetest"
)

func TestScripts(t *testing.T) {
	storetest.Scripts(t, func(t *testing.T) storetest.ScriptStore { return newRig(t, emptied(t)).Store })
}

// TestScriptChangesEpochs changes a script: the jobs that name it get a new generation with their assignment, so that their
// agents hear of it, and are due as before.
func TestScriptChangesEpochs(t *testing.T) {
	r := newRig(t, emptied(t))
	define := func(m crony.Manifest) {
		t.Helper()
		_, err := r.Define(crony.WithActor(t.Context(), "eve"), m, crony.ApplyOptions{})
		r.must(err)
	}
	define(crony.Manifest{Scripts: []crony.Script{storetest.Script("s", "1")},
		Jobs: []crony.Job{storetest.Prepared("a", "s"), storetest.Prepared("b")}})
	r.give("a1", "a", "b")
	var before, after [2]*job
	look := func(into *[2]*job) {
		for i, name := range []string{"a", "b"} {
			j := r.look(name)
			into[i] = &j
		}
	}
	look(&before)
	r.clock.forward(time.Hour)
	define(crony.Manifest{Scripts: []crony.Script{storetest.Script("s", "2")}})
	look(&after)
	a, b := after[0], after[1]
	if a.newest().Epoch == before[0].newest().Epoch || a.newest().Generation != 2 || a.def.Generation != 2 ||
		!a.def.PlanSince.Equal(before[0].def.PlanSince) || a.def.Scripts[0].Script != "2" || a.def.UpdatedBy != "eve" {
		t.Errorf("the job that names it: %+v, %+v", a.def, a.newest())
	}
	if b.newest().Epoch != before[1].newest().Epoch || b.def != before[1].def {
		t.Errorf("a job that does not: %+v, %+v", b.def, b.newest())
	}
	if keys := r.keys(history + "a/"); !slices.Equal(keys, []string{historyKey("a", 1)}) {
		t.Errorf("its history: %v", keys)
	}
	again := newRig(t, r.client)
	want, err := r.ListScripts(t.Context())
	r.must(err)
	got, err := again.ListScripts(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" || got[0].UpdatedBy != "eve" {
		t.Errorf("%v (-written +read):\n%s", err, diff)
	}
}

// TestScriptOfTooMany changes a script of more bytes and jobs than one change can hold.
func TestScriptOfTooMany(t *testing.T) {
	r := newRig(t, emptied(t))
	big := storetest.Script("big", strings.Repeat("x", 60<<10))
	for n := range 5 {
		m := crony.Manifest{Scripts: []crony.Script{big}}
		for i := range 20 {
			m.Jobs = append(m.Jobs, storetest.Prepared(fmt.Sprintf("j%d-%d", n, i), "big"))
		}
		_, err := r.Define(t.Context(), m, crony.ApplyOptions{})
		r.must(err)
	}
	big.Script += "y"
	_, err := r.Define(t.Context(), crony.Manifest{Scripts: []crony.Script{big}}, crony.ApplyOptions{})
	if crony.CodeOf(err) != crony.TooLarge || !strings.Contains(err.Error(), "100 jobs name a script that changes") {
		t.Errorf("a script of 60 KB and 100 jobs: %v", err)
	}
}

// TestPresetOfTheWrongKind has a calendar under a script's key: it is no script.
func TestPresetOfTheWrongKind(t *testing.T) {
	r := newRig(t, emptied(t))
	r.put(scripts+"s", encode(preset{Calendar: &crony.Calendar{Name: "s"}}))
	r.must(r.sync(t.Context()))
	if _, err := r.Script(t.Context(), "s"); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a calendar is a script: %v", err)
	}
	if all, err := r.ListScripts(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
