package appliance_test

import (
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// verified returns what verifying a job shows, once nothing of it is open any more.
func verified(c *testcluster.Cluster, t *testing.T, job string, to time.Time) crony.Verification {
	t.Helper()
	var v crony.Verification
	c.Wait("the ledger of "+job+" to be complete", func() bool {
		var err error
		v, err = c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: job, To: to})
		return err == nil && v.Complete && v.Ends[crony.EndOpen]+v.Ends[crony.EndUnrecorded] == 0
	})
	return v
}

// TestLedger has jobs that are paused, changed, kept by a calendar, and left without an agent and a server for longer than
// the grace: every occurrence is accounted for, and the policies did what they say.
func TestLedger(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes longer than the misfire grace")
	}
	c := testcluster.Start(t, 1)
	began := time.Now()
	c.Apply(`calendars:
  - {name: closed, blackouts: [{from: 2020-01-01T00:00:00Z, to: 2100-01-01T00:00:00Z}]}
jobs:
  - {name: all, schedule: "* * * * * *", misfire: {policy: all, limit: 3}, shell: {command: "true"}}
  - {name: once, schedule: "* * * * * *", shell: {command: "true"}}
  - {name: skip, schedule: "* * * * * *", misfire: {policy: skip}, shell: {command: "true"}}
  - {name: shut, schedule: "* * * * * *", calendars: [{name: closed, on: skip}], shell: {command: "true"}}
  - {name: rests, schedule: "* * * * * *", shell: {command: "true"}}
`)
	c.Wait("runs", func() bool { return finished(c.AllRuns("rests")) >= 2 })
	if _, err := c.PauseJob(t.Context(), "rests", true); err != nil {
		t.Fatal(err)
	}
	c.StopAgent("a1")
	c.RestartServer()
	time.Sleep(crony.MisfireGrace + 6*time.Second) // what is tested is what this much time does
	if _, err := c.PauseJob(t.Context(), "rests", false); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	c.StartAgent("a1")
	for _, job := range []string{"all", "once", "skip", "rests"} {
		c.Wait("runs of "+job+" after it", func() bool { return newest(c.AllRuns(job)).After(back.Add(2 * time.Second)) })
		distinct(t, c.AllRuns(job))
	}
	to := time.Now().Add(-time.Second)
	for _, tt := range []struct {
		job            string
		caughtUp       int
		missed, paused bool
	}{{"all", 3, true, false}, {"once", 1, true, false}, {"skip", 0, true, false}, {"rests", 0, false, true}} {
		v := verified(c, t, tt.job, to)
		if v.Faulty > 0 || v.Expected < int64(to.Sub(began)/time.Second)-1 {
			t.Errorf("%s: %+v", tt.job, v)
		}
		if (v.Ends[crony.EndMissed] > 0) != tt.missed || (v.Ends[crony.EndSkipped] > 8) != tt.paused {
			t.Errorf("%s ended so: %v", tt.job, v.Ends)
		}
		caughtUp := 0
		for _, r := range c.AllRuns(tt.job) {
			if r.CatchUp {
				caughtUp++
			}
		}
		if caughtUp > tt.caughtUp {
			t.Errorf("%s made up for %d, more than its policy allows", tt.job, caughtUp)
		}
	}
	if v := verified(c, t, "shut", to); v.Faulty > 0 || v.Ends[crony.EndSkipped] != v.Expected || len(c.AllRuns("shut")) > 0 {
		t.Errorf("%+v", v)
	}
	explain(c, t, "rests", back.Add(-3*time.Second), crony.EndSkipped)
	explain(c, t, "skip", back.Add(-13*time.Second), crony.EndMissed) // what was claimed before it stopped, it runs
	time.Sleep(time.Until(back.Add(3 * time.Second)))                 // a job is done in less
	explain(c, t, "all", back.Add(time.Second), crony.EndRan)
	c.Wait("what was passed over to be in the run log", func() bool {
		for _, p := range c.Server().Store.Passes() {
			if p.Unless == "" {
				return false
			}
		}
		return true
	})
}

func explain(c *testcluster.Cluster, t *testing.T, job string, at time.Time, want crony.End) {
	t.Helper()
	e, err := c.ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: job, At: at.UTC().Truncate(time.Second)})
	if err != nil || !e.Occurrence || e.Entry == nil || e.Entry.End != want || e.Words == "" {
		t.Errorf("%s at %s: %+v, %v; want it %s", job, at, e, err, want)
	}
}
