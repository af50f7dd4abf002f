package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"

	"github.com/google/go-cmp/cmp"
)

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		w    *world
		want []string
	}{
		{"what agrees has no faults", base().ran(1, "09:05", "09:20").passed(1, 2, "09:10", "09:15", crony.EndMissed, "late"), nil},
		{"a row without a record is one gap", base().ran(1, "09:05", "09:20"), []string{
			"09:10:00 gap: nothing is recorded of 2 occurrences up to 2026-11-20T09:15:00Z, though they were decided",
		}},
		{"two runs of one instant are a double", double(base().ran(1, "09:05", "09:10", "09:15", "09:20")), []string{
			"09:05:00 double: it has the runs RUN-0 and other",
		}},
		{"a run without a claim beside the claimed one is a double", unclaimed(base().ran(1, "09:05", "09:10", "09:15", "09:20")), []string{
			"09:05:00 double: it has the runs RUN-0 and RUN-4: agent a2 was cut off and started RUN-4 without a claim",
		}},
		{"one that never started is none", neverStarted(unclaimed(base().ran(1, "09:05", "09:10", "09:15", "09:20"))), nil},
		{"nor is one whose occurrence was only passed over", alone(unclaimed(base().ran(1, "09:05", "09:10", "09:15", "09:20").
			passed(1, 1, "09:05", "09:05", crony.EndMissed, "the job was changed"))), nil},
		{"nor is a run in the place of one that was lost", rerun(base().ran(1, "09:05", "09:10", "09:15", "09:20"), crony.Lost), nil},
		{"nor if that was killed later", rerun(base().ran(1, "09:05", "09:10", "09:15", "09:20"), crony.Killed), nil},
		{"which comes out not to be lost", rerun(base().ran(1, "09:05", "09:10", "09:15", "09:20"), crony.Succeeded), []string{
			"09:05:00 double: it has the runs RUN-4 and RUN-0",
		}},
		{"runs of two jobs of one name are none", foreign(base().ran(1, "09:05", "09:10", "09:15", "09:20")), nil},
		{"a run that its generation does not name is a stray", base().ran(1, "09:05", "09:07", "09:10", "09:15", "09:20"), []string{
			"09:07:00 stray: the run RUN-1 is of an instant that generation 1 does not name",
		}},
		{"a run on a calendar's time is a stray", base().ran(1, "09:05", "09:10", "09:15", "09:20").with(blackout("09:09", "09:12")), []string{
			"09:10:00 stray: the run RUN-1 should not have been: in a blackout of calendar works",
		}},
		{"a run that was claimed ahead of a change is none", base().ran(1, "09:05", "09:10", "09:15", "09:20").define("09:19:59.5", "0 0 * * *"), nil},
		{"it is the end of the new schedule's instant too", base().ran(1, "09:05", "09:10", "09:15", "09:20").define("09:19:59.5", "20 * * * *").decided("09:20"), nil},
		{"a stretch of another number is a stray", base().ran(1, "09:05", "09:20").passed(1, 3, "09:10", "09:15", crony.EndMissed, "late"), []string{
			"09:10:00 stray: the stretch up to 2026-11-20T09:15:00Z holds 3 occurrences, generation 1 names 2",
		}},
		{"a run of a generation that is not kept is held against nothing", kept(base().ran(1, "09:03").define("09:21", "*/5 * * * *").decided("09:21")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := test.w.verify(t, clock("09:00"), clock("09:30"))
			var got, want []string
			for _, f := range v.Faults {
				got = append(got, fmt.Sprintf("%s %s: %s", f.At.Format(time.TimeOnly), f.Kind, f.Text))
			}
			for _, text := range test.want {
				for i, r := range test.w.runs {
					text = strings.ReplaceAll(text, fmt.Sprintf("RUN-%d", i), string(r.ID))
				}
				want = append(want, text)
			}
			if diff := cmp.Diff(want, got); diff != "" || v.Faulty != int64(len(want)) || !v.Complete {
				t.Errorf("of %+v (-want +got)\n%s", v, diff)
			}
		})
	}
}

func TestVerifyCounts(t *testing.T) {
	w := base().ran(1, "09:05", "09:15").passed(1, 2, "09:10", "09:15", crony.EndMissed, "late").with(blackout("09:19", "09:21"))
	got := w.verify(t, clock("09:00"), clock("12:00"))
	want := crony.Verification{Job: "backup", From: clock("09:00"), To: clock("09:30"), Expected: 6, Complete: true, Faults: []crony.LedgerFault{},
		Ends: map[crony.End]int64{crony.EndRan: 2, crony.EndMissed: 1, crony.EndSkipped: 1, crony.EndOpen: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	got = kept(w.define("09:21", "*/5 * * * *")).verify(t, time.Time{}, time.Time{})
	if !got.From.Equal(clock("09:21")) || got.Expected != 2 {
		t.Errorf("of what is kept: %+v", got)
	}
}

// An occurrence counts once, as what became of it in the end; whichever of its runs the log gives first.
func TestVerifyCountsARerunOnce(t *testing.T) {
	for state, want := range map[crony.RunState]crony.End{crony.Succeeded: crony.EndRan, crony.Skipped: crony.EndLost, crony.Lost: crony.EndLost} {
		for _, turned := range []bool{false, true} {
			w := rerun(base().ran(1, "09:05", "09:10", "09:15", "09:20"), crony.Lost)
			again := &w.runs[len(w.runs)-1]
			if again.State = state; state == crony.Skipped {
				again.StartedAt = time.Time{}
			}
			if turned {
				slices.Reverse(w.runs)
			}
			wants := map[crony.End]int64{crony.EndRan: 3, crony.EndOpen: 2}
			wants[want]++
			got := w.verify(t, clock("09:00"), clock("09:30"))
			if diff := cmp.Diff(wants, got.Ends); diff != "" || got.Faulty != 0 {
				t.Errorf("%s, turned %v: %+v (-want +got)\n%s", state, turned, got.Faults, diff)
			}
		}
	}
}

// Too much for one call is verified in parts, that together are the whole.
func TestVerifyGoesOnWhereItStopped(t *testing.T) {
	w := (&world{now: clock("09:00").AddDate(0, 0, 30)}).define("09:00", "* * * * * *", func(d *crony.Definition) {
		d.Job.Schedules = []crony.ScheduleEntry{{Cron: "30 * * * *"}}
	}).decided("09:00")
	from, n, calls := clock("09:00"), int64(0), 0
	for done := false; !done; calls++ {
		v := w.verify(t, from, w.now)
		n, from, done = n+v.Expected, v.To.Add(1), v.Complete
		if v.Faulty != 0 || calls > 10 {
			t.Fatalf("call %d: %+v", calls, v)
		}
	}
	if n != 30*24*3600 || calls < 2 {
		t.Errorf("%d occurrences in %d calls", n, calls)
	}
}

// unclaimed adds a run of the first one's occurrence by an agent that was cut off.
func unclaimed(w *world) *world {
	r := w.runs[0]
	r.ID, r.Agent, r.Unclaimed, r.Doubles = crony.DoubleRunID(r.JobUID, r.ScheduledAt, "a2"), "a2", true, r.ID
	w.runs = append(w.runs, r)
	return w
}

// neverStarted has the last run skipped.
func neverStarted(w *world) *world {
	r := &w.runs[len(w.runs)-1]
	r.State, r.StartedAt, r.Attempts = crony.Skipped, time.Time{}, nil
	return w
}

// alone takes the first run away.
func alone(w *world) *world {
	w.runs = w.runs[1:]
	return w
}

// rerun adds a run in the place of the first one, and says what became of that.
func rerun(w *world, state crony.RunState) *world {
	r := w.runs[0]
	r.ID, r.RerunOf = crony.RerunID(r.JobUID, r.ScheduledAt, ""), r.ID
	w.runs[0].State = state
	w.runs = append(w.runs, r)
	return w
}

func double(w *world) *world {
	again := w.runs[0]
	again.ID = "other"
	w.runs = append(w.runs, again)
	return w
}
