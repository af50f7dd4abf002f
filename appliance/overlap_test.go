package appliance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// inOrder returns a job's runs by schedule, the earliest first.
func inOrder(c *testcluster.Cluster, job string) []crony.Run {
	runs := slices.DeleteFunc(c.AllRuns(job), func(r crony.Run) bool { return r.Trigger != crony.BySchedule })
	slices.SortFunc(runs, func(a, b crony.Run) int { return a.ScheduledAt.Compare(b.ScheduledAt) })
	return runs
}

// atOnce returns the most runs of a list that went on at one time.
func atOnce(runs []crony.Run) (most int) {
	for i := range runs {
		n := 0
		for k := range runs {
			a, b := &runs[i], &runs[k]
			if !a.StartedAt.IsZero() && !b.StartedAt.IsZero() && !b.StartedAt.After(a.StartedAt) &&
				(b.EndedAt.IsZero() || b.EndedAt.After(a.StartedAt)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// TestOverlap runs jobs that take longer than they have time, each with another policy: what comes due meanwhile is skipped,
// waits, or takes the place of what goes on, and the ledger accounts for all of it.
func TestOverlap(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - {name: forbid, schedule: "@every 1s", overlap: forbid, shell: {command: sleep 3.3}}
  - {name: some, schedule: "@every 1s", max_parallel: 2, shell: {command: sleep 3.3}}
  - {name: queue, schedule: "@every 1s", overlap: queue, shell: {command: sleep 1.7}}
  - {name: replace, schedule: "@every 2s", overlap: replace, shell: {command: exec sleep 600}}
  - {name: long, overlap: forbid, shell: {command: exec sleep 600}}
`)
	c.Wait("the jobs to have come due many times", func() bool {
		return finished(c.AllRuns("forbid")) >= 3 && finished(c.AllRuns("queue")) >= 5 && finished(c.AllRuns("replace")) >= 4
	})
	status, err := c.Job(t.Context(), "queue")
	if err != nil {
		t.Fatal(err)
	}
	waiting := 0
	for _, l := range status.Locks {
		if l.Waits {
			waiting++
		}
	}
	if waiting == 0 || len(status.Locks) != waiting+1 || status.Locks[0].Waits {
		t.Errorf("of the queue the job shows %+v", status.Locks)
	}
	waits, err := c.Run(t.Context(), status.Locks[1].Run)
	if err != nil || waits.State == crony.Claimed && !strings.Contains(waits.Reason, "waits for run ") {
		t.Errorf("a run that waits is shown as %s, %q: %v", waits.State, waits.Reason, err)
	}
	long := start(c, t, "long")
	if _, err := c.StartJob(t.Context(), "long", crony.StartOptions{}); crony.CodeOf(err) != crony.Conflict ||
		!strings.Contains(err.Error(), string(long)) {
		t.Errorf("while %s goes on another was ordered: %v", long, err)
	}
	if err := c.KillRun(t.Context(), long, "enough"); err != nil {
		t.Fatal(err)
	}
	if run := ended(c, t, long); run.State != crony.Killed {
		t.Errorf("the run that was killed: %s, %s", run.State, run.Reason)
	}
	start(c, t, "long")
	for _, job := range []string{"forbid", "some", "queue", "replace"} {
		if _, err := c.PauseJob(t.Context(), job, true); err != nil {
			t.Fatal(err)
		}
	}
	for job, most := range map[string]int{"forbid": 1, "some": 2, "queue": 1, "replace": 1} {
		runs := inOrder(c, job)
		if got := atOnce(runs); got != most {
			t.Errorf("%s: %d runs at once, want %d", job, got, most)
		}
		for i := 1; i < len(runs); i++ {
			if a, b := &runs[i-1], &runs[i]; !b.StartedAt.IsZero() && b.StartedAt.Before(a.StartedAt) {
				t.Errorf("%s: %s started before %s", job, b.ID, a.ID)
			}
		}
	}
	for _, run := range inOrder(c, "replace")[:3] {
		if run.State != crony.Killed || !strings.HasPrefix(run.Reason, "replaced by run ") {
			t.Errorf("replace: %s, %s", run.State, run.Reason)
		}
	}
	now := time.Now()
	c.Wait("what was skipped to be on record", func() bool {
		page, err := c.ListLedger(t.Context(), crony.LedgerQuery{Job: "forbid", To: now})
		return err == nil && slices.ContainsFunc(page.Items, func(e crony.LedgerEntry) bool {
			return e.End == crony.EndSkipped && e.Count >= 2 && strings.Contains(e.Reason, "still goes on")
		})
	})
}
