package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"crony"
)

func (t *jobsTest) start(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("a", "1"))
	_, err := t.store.StartJob(ctx, "a", crony.StartOptions{})
	t.refused("a start without an agent", err, crony.Unavailable, true)
	t.fleet.Place("a")
	j := t.job(ctx, "a")
	if len(j.Assignments) != 1 || j.Assigned != 1 || j.Waiting != "" {
		t.Fatalf("a placed job has %d assignments: %+v, waiting %q", j.Assigned, j.Assignments, j.Waiting)
	}
	if a := j.Assignments[0]; a.Job != "a" || a.Agent == "" || a.Generation != 1 || a.Epoch == 0 || a.Reason == "" ||
		a.Since.IsZero() {
		t.Errorf("a placed job has the assignment %+v", a)
	}
	first := t.started(ctx, crony.StartOptions{Request: "one", Params: map[string]string{"day": "monday"}})
	if again := t.started(ctx, crony.StartOptions{Request: "one", Params: map[string]string{"day": "monday"}}); again != first {
		t.Errorf("the same request again: %s, not %s", again, first)
	}
	_, err = t.store.StartJob(ctx, "a", crony.StartOptions{Request: "one", Params: map[string]string{"day": "sunday"}})
	t.refused("another request of the same name", err, crony.Conflict, true)
	second := t.started(ctx, crony.StartOptions{})
	if second == first {
		t.Errorf("another order: %s again", second)
	}
	if orders := t.job(ctx, "a").Orders; len(orders) != 2 || orders[0].Job != "a" || orders[0].Agent == "" || orders[0].At.IsZero() {
		t.Errorf("the job shows the orders %+v", orders)
	}
	t.fleet.Take("a", first)
	if again := t.started(ctx, crony.StartOptions{Request: "one", Params: map[string]string{"day": "monday"}}); again != first {
		t.Errorf("the same request after it was taken: %s, not %s", again, first)
	}
	t.fleet.Take("a", second)
	if orders := t.job(ctx, "a").Orders; len(orders) != 0 {
		t.Errorf("the job shows the orders %+v, though all are taken", orders)
	}
	all, err := t.store.StartJob(ctx, "a", crony.StartOptions{All: true})
	if err != nil || len(all) != 1 || all[0] == first || all[0] == second {
		t.Errorf("on all agents: %v, %v", all, err)
	}
	_, err = t.store.StartJob(ctx, "a", crony.StartOptions{Agent: "nobody"})
	t.refused("a start on an agent that there is not", err, crony.NotFound, true)
}

func (t *jobsTest) started(ctx context.Context, opts crony.StartOptions) crony.RunID {
	t.Helper()
	runs, err := t.store.StartJob(ctx, "a", opts)
	if err != nil || len(runs) != 1 {
		t.Fatalf("start: %v, %v", runs, err)
	}
	if _, err := crony.ParseRunID(string(runs[0])); err != nil {
		t.Error(err)
	}
	return runs[0]
}

func (t *jobsTest) wrongStarts(ctx context.Context) {
	t.apply(ctx, crony.ApplyOptions{}, Job("a", "1"))
	t.fleet.Place("a")
	many := map[string]string{}
	for n := range crony.MaxParams + 1 {
		many[fmt.Sprint("p", n)] = ""
	}
	for what, opts := range map[string]crony.StartOptions{
		"one agent and all":      {Agent: "a1", All: true},
		"a name with a slash":    {Request: "a/b"},
		"a long name":            {Request: strings.Repeat("x", 65)},
		"too many parameters":    {Params: many},
		"too large":              {Params: map[string]string{"a": strings.Repeat("x", 16<<10)}},
		"a parameter of no name": {Params: map[string]string{"": "x"}},
		"a digit first":          {Params: map[string]string{"1a": "x"}},
		"a name with a dash":     {Params: map[string]string{"a-b": "x"}},
		"names alike":            {Params: map[string]string{"a": "x", "A": "y"}},
		"a value with a NUL":     {Params: map[string]string{"a": "x\x00"}},
	} {
		_, err := t.store.StartJob(ctx, "a", opts)
		t.refused(what, err, crony.Invalid, false)
		if e, ok := errors.AsType[*crony.Error](err); ok && len(e.Faults) == 0 {
			t.Errorf("%s: no fault is named: %v", what, err)
		}
	}
	if orders := t.job(ctx, "a").Orders; len(orders) != 0 {
		t.Errorf("orders after refusals: %+v", orders)
	}
}
