package appliance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// The kinds of job by which people think: on every host (common), by whichever host is first (interval), by a rule that comes
// round (cycle), and once, at one time or at several.

// placedOn waits until a job is on so many agents.
func placedOn(c *testcluster.Cluster, t *testing.T, job string, agents int) {
	t.Helper()
	c.Wait(fmt.Sprintf("%s to be on %d agents", job, agents), func() bool {
		j, err := c.Job(t.Context(), job)
		return err == nil && j.Assigned == agents
	})
}

// due returns which agents ran each occurrence, sorted; a run that is there twice is told twice.
func due(runs []crony.Run) map[time.Time][]string {
	by := map[time.Time][]string{}
	for _, r := range runs {
		by[r.ScheduledAt] = append(by[r.ScheduledAt], r.Agent)
	}
	for _, agents := range by {
		slices.Sort(agents)
	}
	return by
}

// TestCommon: a job of mode each runs on every agent, each occurrence once, by an id of its own. An agent that was away makes
// up for what its policy says, and the others do not notice.
func TestCommon(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 3)
	c.Apply(`jobs: [{name: tidy, schedule: "* * * * * *", placement: {mode: each}, misfire: {policy: all}, shell: {command: "true"}}]`)
	placedOn(c, t, "tidy", 3)
	ranOn := func(agents int) func() bool {
		return func() bool {
			n := 0
			for _, by := range due(c.AllRuns("tidy")) {
				if len(by) == agents {
					n++
				}
			}
			return n >= 2
		}
	}
	c.Wait("occurrences that all have run", ranOn(3))
	c.StopAgent("a2")
	back := time.Now()
	c.Wait("occurrences without it", func() bool {
		return newest(c.AllRuns("tidy")).After(back.Add(3 * time.Second))
	})
	c.StartAgent("a2")
	again := time.Now()
	c.Wait("it to run again", func() bool {
		return newest(slices.DeleteFunc(c.AllRuns("tidy"), func(r crony.Run) bool { return r.Agent != "a2" })).After(again.Add(2 * time.Second))
	})
	if j, err := c.Job(t.Context(), "tidy"); err != nil || j.Assigned != 3 || len(j.Assignments) != 3 {
		t.Errorf("%+v, %v", j, err)
	}
	runs := c.AllRuns("tidy")
	ids := map[crony.RunID]bool{}
	for _, r := range runs {
		if ids[r.ID] || r.ID != crony.OccurrenceRunID(r.JobUID, r.ScheduledAt, r.Agent) {
			t.Errorf("%s at %s has the run %s, and it is there twice: %v", r.Agent, r.ScheduledAt, r.ID, ids[r.ID])
		}
		ids[r.ID] = true
	}
	for at, agents := range due(runs) {
		if len(slices.Compact(slices.Clone(agents))) != len(agents) {
			t.Errorf("at %s ran on %v", at, agents)
		}
	}
	v := verified(c, t, "tidy", again)
	if v.Faulty > 0 || v.Ends[crony.EndRan] != v.Expected {
		t.Errorf("%+v", v)
	}
	e, err := c.ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "tidy", At: back.UTC().Truncate(time.Second).Add(time.Second)})
	if err != nil || len(e.Agents) != 3 || !strings.Contains(e.Words, "each of its 3 agents") {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestInterval: a job of mode race runs once each time, on whichever agent is first. When an agent goes nothing is waited for:
// the next occurrence is the others'.
func TestInterval(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 3)
	c.Apply(`jobs: [{name: poll, schedule: "@every 1s", placement: {mode: race}, shell: {command: "true"}}]`)
	placedOn(c, t, "poll", 3)
	c.Wait("runs", func() bool { return finished(c.AllRuns("poll")) >= 3 })
	gone := c.AllRuns("poll")[0].Agent
	c.StopAgent(gone)
	left := time.Now()
	c.Wait("runs without it", func() bool { return newest(c.AllRuns("poll")).After(left.Add(3 * time.Second)) })
	to := time.Now().Add(-time.Second)
	distinct(t, c.AllRuns("poll"))
	for at, agents := range due(c.AllRuns("poll")) {
		if len(agents) != 1 || at.After(left.Add(2*time.Second)) && agents[0] == gone {
			t.Errorf("at %s ran on %v", at, agents)
		}
	}
	var v crony.Verification
	c.Wait("all to have run, but for what the agent took with it", func() bool {
		var err error
		v, err = c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: "poll", To: to})
		return err == nil && v.Complete && v.Expected-v.Ends[crony.EndRan] <= 1
	})
	if v.Faulty > 0 || v.Ends[crony.EndMissed] > 0 {
		t.Errorf("%+v", v)
	}
}

// TestCycle: a rule that comes round, as cron or as an interval, runs once each time, on the one agent that has the job.
func TestCycle(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 2)
	c.Apply(`jobs:
  - {name: cron, schedule: "* * * * * *", shell: {command: "true"}}
  - {name: every, schedules: [{every: 1s}], shell: {command: "true"}}`)
	for _, job := range []string{"cron", "every"} {
		c.Wait("runs of "+job, func() bool { return finished(c.AllRuns(job)) >= 3 })
		runs := c.AllRuns(job)
		distinct(t, runs)
		for _, r := range runs {
			if r.Agent != runs[0].Agent {
				t.Errorf("%s ran on %s and on %s", job, r.Agent, runs[0].Agent)
			}
		}
	}
}

// once checks that a job has run at just these times.
func once(c *testcluster.Cluster, t *testing.T, job string, times ...time.Time) {
	t.Helper()
	c.Wait("the runs of "+job, func() bool { return finished(c.AllRuns(job)) >= len(times) })
	j, err := c.Job(t.Context(), job)
	if err != nil || !j.NextAt.IsZero() {
		t.Errorf("%s is due again at %s, %v", job, j.NextAt, err)
	}
	by := due(c.AllRuns(job))
	for _, at := range times {
		if len(by[at]) != 1 {
			t.Errorf("%s at %s ran on %v", job, at, by[at])
		}
	}
	if len(by) != len(times) {
		t.Errorf("%s ran at %v, want at %v", job, by, times)
	}
}

// TestOnlyOnce: a job with one time runs at that time, and never again.
func TestOnlyOnce(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 2)
	at := time.Now().UTC().Truncate(time.Second).Add(3 * time.Second)
	c.Apply(fmt.Sprintf(`jobs: [{name: migrate, schedule: "@at %s", shell: {command: "true"}}]`, at.Format(time.RFC3339)))
	once(c, t, "migrate", at)
}

// TestManyOnce: a job with several times runs at each of them, and never again; in a race too.
func TestManyOnce(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 2)
	var times []time.Time
	var list []string
	for n := range 3 {
		at := time.Now().UTC().Truncate(time.Second).Add(time.Duration(3+n) * time.Second)
		times, list = append(times, at), append(list, at.Format(time.RFC3339))
	}
	c.Apply(fmt.Sprintf(`jobs:
  - {name: launch, schedules: [{at: ["%[1]s"]}], shell: {command: "true"}}
  - {name: raced, schedules: [{at: ["%[1]s"]}], placement: {mode: race}, shell: {command: "true"}}`, strings.Join(list, `", "`)))
	once(c, t, "launch", times...)
	once(c, t, "raced", times...)
}
