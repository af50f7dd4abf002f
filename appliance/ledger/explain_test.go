package ledger_test

import (
	"strings"
	"testing"
	"time"

	"crony"
)

func TestExplain(t *testing.T) {
	const five = "*/5 * * * *"
	for _, test := range []struct {
		name string
		w    *world
		at   string
		want string
	}{
		{"it ran on time", base().ran(1, "09:05"), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 started it at 2026-11-20T09:05:00Z, on time; it succeeded with exit code 0 after 12s."},
		{"it ran late and failed", failed(base().ran(1, "09:05")), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 started it at 2026-11-20T09:05:07Z, 7s late, to make up for it; it failed with exit code 3 after 12s and 2 attempts: no space left."},
		{"it still runs", running(base().ran(1, "09:05")), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 started it at 2026-11-20T09:05:00Z, on time, and it still runs after 25m."},
		{"it waits", waiting(running(base().ran(1, "09:05"))), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 started it at 2026-11-20T09:05:00Z, on time, and it waits until 2026-11-20T09:31:00Z: attempt 1 of 3 failed: no."},
		{"it waits, and could not be started", waiting(unstarted(base().ran(1, "09:05"))), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 claimed it, and waits until 2026-11-20T09:31:00Z: attempt 1 of 3 failed: no."},
		{"it is claimed", claimed(base()), "09:20",
			"backup was due at 2026-11-20T09:20:00Z. Agent a1 has claimed it, and has not started it yet."},
		{"it could not be started", unstarted(base().ran(1, "09:05")), "09:05",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 claimed it and did not start it: it failed: no such file: /bin/backup."},
		{"an instant in the minute of one occurrence is that one", base().ran(1, "09:05"), "09:05:40",
			"backup was due at 2026-11-20T09:05:00Z. Agent a1 started it at 2026-11-20T09:05:00Z, on time; it succeeded with exit code 0 after 12s."},
		{"a stretch says who paused, though it does not itself", base().define("09:07", five, paused).define("09:17", five).decided("09:20").
			passed(2, 2, "09:10", "09:15", crony.EndSkipped, "the job was paused at 2026-11-20T09:07:00Z"), "09:10",
			"backup was due at 2026-11-20T09:10:00Z. It was skipped: the job was paused at 2026-11-20T09:07:00Z by alice (one of 2 from 2026-11-20T09:10:00Z to 2026-11-20T09:15:00Z)."},
		{"it is paused", base().define("09:21", five, paused), "09:25",
			"backup was due at 2026-11-20T09:25:00Z. It was skipped: the job was paused at 2026-11-20T09:21:00Z by alice."},
		{"an agent passed it over", by(base().passed(1, 1, "09:10", "09:10", crony.EndMissed, "a later one runs in its place"), "a1"), "09:10",
			"backup was due at 2026-11-20T09:10:00Z. It was missed and did not run, as agent a1 decided: a later one runs in its place."},
		{"it is lost", by(base().passed(1, 1, "09:10", "09:10", crony.EndLost, "its agent claimed it and never reported it"), "a1"), "09:10",
			"backup was due at 2026-11-20T09:10:00Z. It is lost, and whether it ran is not known: its agent claimed it and never reported it."},
		{"a calendar keeps it from running", base().with(blackout("09:09", "09:12")), "09:10",
			"backup was due at 2026-11-20T09:10:00Z. It was skipped: in a blackout of calendar works."},
		{"nothing is recorded", base(), "09:10",
			"backup was due at 2026-11-20T09:10:00Z. It was decided, but nothing is recorded of it: the record was lost or is not here yet, and it can't be told whether it ran."},
		{"it is open", away(base()), "09:25",
			"backup was due at 2026-11-20T09:25:00Z. It is not decided yet: its agent a1 is not connected."},
		{"it is to come", base(), "12:30", "backup is due in 3h, at 2026-11-20T12:30:00Z."},
		{"it is to come, and paused", base().define("09:21", five, paused), "09:40",
			"backup is due in 10m, at 2026-11-20T09:40:00Z, and will not run unless the job is resumed: the job was paused at 2026-11-20T09:21:00Z by alice."},
		{"it is to come, and a calendar keeps it from running", base().with(blackout("09:39", "09:42")), "09:40",
			"backup is due in 10m, at 2026-11-20T09:40:00Z, and will not run: in a blackout of calendar works."},
		{"it is none, with others around", base(), "09:07",
			"backup was not due at 2026-11-20T09:07:00Z. The nearest are 2026-11-20T09:05:00Z before it and 2026-11-20T09:10:00Z after it."},
		{"it is none, before the job was", base(), "08:33",
			"The schedule that backup had at 2026-11-20T08:33:00Z is not kept, and nothing is recorded of that time. The first after it is 2026-11-20T09:05:00Z."},
		{"it is none, of a job that runs when told to", (&world{now: clock("09:30")}).define("09:00", ""), "09:10",
			"backup was not due at 2026-11-20T09:10:00Z: it ran only when it was told to."},
		{"it is in a stretch of a schedule that is not kept", kept(base().passed(1, 3, "09:05", "09:15", crony.EndMissed, "late").define("09:21", five)), "09:10",
			"The schedule that backup had at 2026-11-20T09:10:00Z is not kept. From 2026-11-20T09:05:00Z to 2026-11-20T09:15:00Z it was due 3 times, which ended as missed: late."},
		{"it was claimed just before the schedule changed", base().define("09:19:59", "0 9 * * *").ran(1, "09:20"), "09:20",
			"backup was due at 2026-11-20T09:20:00Z by generation 1 of its definition. Agent a1 started it at 2026-11-20T09:20:00Z, on time; it succeeded with exit code 0 after 12s."},
		{"it waits for its jitter", jittered(base()), "09:30",
			"backup was due at 2026-11-20T09:30:00Z. It is not decided yet: with its jitter it starts in 1m20s, at 2026-11-20T09:31:20.255Z."},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := test.w.explain(t, test.at)
			if x.Words != test.want {
				t.Errorf("got  %s\nwant %s", x.Words, test.want)
			}
			if x.Occurrence != (x.Entry != nil) || x.Job != "backup" {
				t.Errorf("the explanation is %+v", x)
			}
		})
	}
}

func TestExplainTellsWhichAndWhat(t *testing.T) {
	w := base().ran(1, "09:05").define("09:17", "* * * * * *").decided("09:20")
	x := w.explain(t, "09:05:59.5")
	if !x.At.Equal(clock("09:05")) || !x.Occurrence || x.Generation != 1 || x.Run == nil || x.Run.ID != w.runs[0].ID || x.Entry.End != crony.EndRan {
		t.Errorf("the minute of one occurrence: %+v", x)
	}
	x = w.explain(t, "09:18:30.5")
	if x.Occurrence || x.Generation != 2 || !x.Before.Equal(clock("09:18:30")) || !x.After.Equal(clock("09:18:31")) {
		t.Errorf("the minute of many: %+v", x)
	}
	x = w.explain(t, "09:16:30")
	if x.Occurrence || !x.Before.Equal(clock("09:15")) || !x.After.Equal(clock("09:17:01")) {
		t.Errorf("right before a change: %+v", x)
	}
	if _, err := gone(&world{now: clock("09:00")}).ledger(t).ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "backup", At: clock("09:00")}); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a job that never was: %v", err)
	}
}

func failed(w *world) *world {
	r := &w.runs[0]
	three := 3
	r.State, r.Reason, r.CatchUp, r.StartedAt, r.EndedAt = crony.Failed, "no space left", true, r.StartedAt.Add(7*time.Second), r.EndedAt.Add(7*time.Second)
	r.Attempts = append(r.Attempts, crony.Attempt{Number: 2, ExitCode: &three})
	return w
}

func running(w *world) *world {
	r := &w.runs[0]
	r.State, r.EndedAt, r.Attempts = crony.Running, time.Time{}, nil
	return w
}

func waiting(w *world) *world {
	r := &w.runs[0]
	r.State, r.EndedAt, r.Until, r.Reason = crony.Waiting, time.Time{}, clock("09:31"), "attempt 1 of 3 failed: no"
	return w
}

func unstarted(w *world) *world {
	r := &w.runs[0]
	r.State, r.StartedAt, r.Attempts, r.Reason = crony.Failed, time.Time{}, nil, "no such file: /bin/backup"
	return w
}

func by(w *world, agent string) *world {
	w.stretches[0].Agent = agent
	return w
}

func jittered(w *world) *world {
	j := &w.Definitions[0].Job
	j.Schedule, j.Schedules = "", []crony.ScheduleEntry{{Cron: j.Schedule, Jitter: crony.Duration(4 * time.Minute)}}
	return w
}

// TestExplainDouble tells of both runs, the one that was claimed first.
func TestExplainDouble(t *testing.T) {
	x := unclaimed(base().ran(1, "09:05", "09:10", "09:15", "09:20")).explain(t, "09:05")
	double := crony.DoubleRunID("U", clock("09:05"), "a2")
	want := "It ran twice: agent a2 was cut off, and started it without a claim as the run " + string(double) + ", which succeeded."
	if x.Run == nil || x.Run.Doubles != "" || !strings.HasSuffix(x.Words, want) {
		t.Errorf("%+v: %s", x.Run, x.Words)
	}
	x = alone(unclaimed(base().ran(1, "09:05", "09:10", "09:15", "09:20"))).explain(t, "09:05")
	if x.Run == nil || x.Run.ID != double || strings.Contains(x.Words, "twice") || !strings.Contains(x.Words, "without a claim as it was cut off") {
		t.Errorf("%+v: %s", x.Run, x.Words)
	}
}
