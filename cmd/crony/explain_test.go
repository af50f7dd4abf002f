package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestExplain(t *testing.T) {
	due := noon.Add(-time.Hour)
	run := crony.Run{ID: id, Job: "ran", Agent: "A1", State: crony.Failed, ScheduledAt: due, StartedAt: due.Add(time.Second),
		EndedAt: due.Add(3 * time.Second), Reason: "exit code 7"}
	explained := map[string]crony.Explanation{
		"ran": {Occurrence: true, Generation: 3, Words: "It ran on time on db-1, and failed: exit code 7.", Run: &run,
			Entry: &crony.LedgerEntry{From: due, To: due, Count: 1, End: crony.EndRan, Run: id, State: crony.Failed, Agent: "A1"}},
		"paused": {Occurrence: true, Generation: 2, Words: "It was skipped: ada had\x1b[2J paused the job.",
			Entry: &crony.LedgerEntry{From: due, To: due.Add(time.Hour), Count: 61, End: crony.EndSkipped, Reason: "the job was paused"}},
		"each": {Occurrence: true, Generation: 4, Words: "It was due on each of its 2 agents: ran on 1, missed on 1.",
			Agents: []crony.LedgerEntry{{From: due, To: due, Count: 1, End: crony.EndRan, Run: id, State: crony.Failed, Agent: "A1"},
				{From: due, To: due, Count: 1, End: crony.EndMissed, Reason: "its agent was not running", Agent: "A2"}}},
		"quiet": {Words: "The job was not due then.", Before: due.Add(-time.Minute), After: due.Add(time.Minute), Generation: 1},
	}
	s := start(t, &fake{ledger: ledger{explanations: explained},
		agents: []crony.AgentStatus{{Agent: crony.Agent{ID: "A1", Name: "db-1"}}}})
	for job, want := range map[string]string{
		"ran": `It ran on time on db-1, and failed: exit code 7.

Job:         ran
At:          2027-03-01 11:00:00 UTC (1h ago)
Generation:  3
End:         ran
Reason:      exit code 7
Agent:       db-1
Run:         01KABCDEFGHJKMNPQRSTVWXYZ0, failed
Started:     2027-03-01 11:00:01 UTC (59m ago)
Ended:       2027-03-01 11:00:03 UTC (59m ago)
`,
		"paused": `It was skipped: ada had` + "\ufffd" + `[2J paused the job.

Job:         paused
At:          2027-03-01 11:00:00 UTC (1h ago)
Generation:  2
End:         skipped
Reason:      the job was paused
Alike:       61 in a row
The first:   2027-03-01 11:00:00 UTC (1h ago)
The last:    2027-03-01 12:00:00 UTC (now)
`,
		"each": `It was due on each of its 2 agents: ran on 1, missed on 1.

Job:         each
At:          2027-03-01 11:00:00 UTC (1h ago)
Generation:  4

AGENT  END     REASON                     RUN
db-1   ran     -                          01KABCDEFGHJKMNPQRSTVWXYZ0, failed
A2     missed  its agent was not running  -
`,
		"quiet": `The job was not due then.

Job:         quiet
At:          2027-03-01 11:00:00 UTC (1h ago)
Due before:  2027-03-01 10:59:00 UTC (1h ago)
Due after:   2027-03-01 11:01:00 UTC (59m ago)
Generation:  1
`,
	} {
		if diff := cmp.Diff(want, s.want("explain", job, "--at", "2027-03-01T11:00:00Z")); diff != "" {
			t.Errorf("%s: %s", job, diff)
		}
	}

	// The same instant, as people write it.
	for _, at := range [][]string{{"11:00"}, {"2027-03-01 11:00:00"}, {"-1h"}, {"12:00", "--tz", "Europe/Berlin"}} {
		var got crony.Explanation
		answer := s.want(append([]string{"explain", "ran", "-o", "json", "--at"}, at...)...)
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatal(err)
		}
		want := explained["ran"]
		want.Job, want.At = "ran", due
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", at, diff)
		}
	}

	if r := s.run("explain", "none", "--at", "11:00"); r != (result{3, "", "crony: there never was a job \"none\"\n"}) {
		t.Errorf("got %+v", r)
	}
}
