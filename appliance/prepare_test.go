package appliance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// preparing returns the runs of scripts, the newest first.
func preparing(c *testcluster.Cluster, t *testing.T) []crony.Run {
	t.Helper()
	page, err := c.ListRuns(t.Context(), crony.RunQuery{Trigger: crony.ByPrepare})
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// TestScriptsPrepareHosts has two jobs name a script that fails: what they miss is in the ledger, with the reason, and a run that
// is asked for fails. When the script is mended they run, and do so after a restart of the agent too, without running it again.
func TestScriptsPrepareHosts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes longer than the misfire grace")
	}
	c := testcluster.Start(t, 1)
	const manifest = `scripts: [{name: tools, script: "echo $CRONY_SCRIPT for $CRONY_JOB; exit %d"}]
jobs:
  - {name: each-second, schedule: "* * * * * *", scripts: [tools], shell: {command: "true"}}
  - {name: by-hand, scripts: [tools], shell: {command: "true"}}
`
	c.Apply(fmt.Sprintf(manifest, 3))
	c.Wait("the script to fail", func() bool { return len(preparing(c, t)) > 0 && preparing(c, t)[0].State == crony.Failed })
	ids, err := c.StartJob(t.Context(), "by-hand", crony.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	asked := ids[0]
	const why = "not prepared: script tools failed: exit code 3"
	c.Wait("the run that was asked for to fail", func() bool {
		r, err := c.Run(t.Context(), asked)
		return err == nil && r.State == crony.Failed && r.Reason == why && len(r.Attempts) == 0
	})
	c.Wait("occurrences to be missed", func() bool {
		page, err := c.ListLedger(t.Context(), crony.LedgerQuery{Job: "each-second"})
		return err == nil && len(page.Items) > 0 && page.Items[0].End == crony.EndMissed && page.Items[0].Reason == why
	})
	if status, err := c.Job(t.Context(), "each-second"); err != nil || status.LastRun != nil {
		t.Errorf("a run that prepares is the job's last: %+v, %v", status.LastRun, err)
	}
	c.Apply(fmt.Sprintf(manifest, 0))
	c.Wait("runs", func() bool { return finished(c.AllRuns("each-second")) >= 3 })
	tries := preparing(c, t)
	if r := tries[0]; r.State != crony.Succeeded || r.By != "tools" || r.Generation != 2 {
		t.Errorf("the last run of the script: %+v", r)
	}
	var text strings.Builder
	for chunk, err := range c.Output(t.Context(), tries[0].ID, false) {
		if err != nil {
			t.Fatal(err)
		}
		text.Write(chunk.Data)
	}
	if got := text.String(); got != "tools for "+tries[0].Job+"\n" {
		t.Errorf("its output is %q", got)
	}
	c.StopAgent("a1")
	back := time.Now()
	c.StartAgent("a1")
	c.Wait("runs after a restart", func() bool { return newest(c.AllRuns("each-second")).After(back.Add(2 * time.Second)) })
	if again := preparing(c, t); len(again) != len(tries) {
		t.Errorf("the script ran %d times, and %d times before the restart", len(again), len(tries))
	}
	if v := verified(c, t, "each-second", time.Now().Add(-time.Second)); v.Faulty > 0 || v.Ends[crony.EndMissed] == 0 || v.Ends[crony.EndRan] == 0 {
		t.Errorf("%+v", v)
	}
}
