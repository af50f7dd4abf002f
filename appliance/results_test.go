package appliance_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"crony"
	"crony/internal/testcluster"
)

// TestResults follows a result from the command that writes it to the person who handles it: it is there once the run has ended,
// is listed as long as nobody has handled it, and is handled by one.
func TestResults(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - {name: books, handle_results: true, shell: {command: 'echo "{\"rows\": 3, \"text\": \"<&>\"}" > $CRONY_RESULT'}}
  - {name: silent, handle_results: true, shell: {command: 'true'}}
  - {name: unasked, shell: {command: 'echo 7 > $CRONY_RESULT'}}
  - {name: wrong, handle_results: true, shell: {command: 'echo oops > $CRONY_RESULT'}}
`)
	runs := map[string]crony.Run{}
	for _, job := range []string{"books", "silent", "unasked", "wrong"} {
		runs[job] = waitEnded(c, t, start(c, t, job))
	}
	for job, want := range map[string]struct{ result, reason string }{
		"books": {`{"rows":3,"text":"\u003c\u0026\u003e"}`, ""}, "silent": {"", ""}, "unasked": {"7", ""}, "wrong": {"", "its result does not count"},
	} {
		run := runs[job]
		if run.State != crony.Succeeded || string(run.Result) != want.result || !strings.Contains(run.Reason, want.reason) ||
			run.ToHandle != (job == "books") {
			t.Errorf("%s: %+v", job, run)
		}
	}
	list := func() string {
		page, err := c.ListRuns(t.Context(), crony.RunQuery{ToHandle: true, Count: true})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(page.Count.Runs)
		for _, r := range page.Items {
			text += " " + r.Job
		}
		return text
	}
	if got := list(); got != "1 books" {
		t.Errorf("to be handled: %s", got)
	}
	id := runs["books"].ID
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { _, errs[i] = c.HandleRun(t.Context(), id, crony.HandleOptions{Note: fmt.Sprint("by ", i)}) })
	}
	all.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), "handled by"):
			t.Errorf("%d: %v, and %d has handled it", i, err, winner)
		}
	}
	run, err := c.Run(t.Context(), id)
	if err != nil || run.ToHandle || run.Handled == nil || run.Handled.Note != fmt.Sprint("by ", winner) || run.Handled.By == "" {
		t.Errorf("%+v, %v", run.Handled, err)
	}
	if got := list(); got != "0" {
		t.Errorf("to be handled: %s", got)
	}
	if _, err := c.HandleRun(t.Context(), runs["unasked"].ID, crony.HandleOptions{}); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("of a job that did not ask: %v", err)
	}
}
