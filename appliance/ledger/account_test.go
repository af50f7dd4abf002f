package ledger_test

import (
	"testing"
	"time"

	"crony"

	"github.com/google/go-cmp/cmp"
)

// base is a job of each five minutes, decided up to 09:20, as of 09:30.
func base() *world {
	w := &world{now: clock("09:30"), History: historyOf("a1")}
	return w.define("09:00", "*/5 * * * *").decided("09:20")
}

func TestAccount(t *testing.T) {
	const five = "*/5 * * * *"
	const open = "its agent a1 is about to decide it"
	for _, test := range []struct {
		name string
		w    *world
		want []string
	}{
		{"what ran and what is open", base().ran(1, "09:05", "09:10", "09:15", "09:20"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"what is up to the cursor and not recorded is a gap", base().ran(1, "09:05", "09:20"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 unrecorded: nothing is recorded of it", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"a stretch outweighs the definitions", base().ran(1, "09:05", "09:20").passed(1, 2, "09:10", "09:15", crony.EndMissed, "late"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 missed: late", "09:20:00 1 ran [succeeded]", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"what is skipped for one reason in several stretches is one row", base().ran(1, "09:05").
			passed(1, 1, "09:10", "09:10", crony.EndSkipped, "busy").passed(1, 1, "09:15", "09:15", crony.EndSkipped, "busy").
			passed(1, 1, "09:20", "09:20", crony.EndSkipped, "another").by("a1"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 skipped: busy", "09:20:00 1 skipped: another",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"a run outweighs a stretch and parts it", base().ran(1, "09:10").passed(1, 4, "09:05", "09:20", crony.EndMissed, "late"), []string{
			"09:05:00 1 missed: late", "09:10:00 1 ran [succeeded]", "09:15:00-09:20:00 2 missed: late", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"a run in place of a whole stretch", base().ran(1, "09:05", "09:10", "09:15", "09:20").passed(1, 1, "09:10", "09:10", crony.EndLost, "gone"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"a claimed run is open, a lost one lost, a skipped one skipped", inStates(base().ran(1, "09:05", "09:10", "09:15", "09:20"),
			crony.Claimed, crony.Lost, crony.Skipped, crony.Failed), []string{
			"09:05:00 1 open: claimed, not started yet [claimed]", "09:10:00 1 lost [lost]", "09:15:00 1 skipped [skipped]", "09:20:00 1 ran [failed]",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"of a lost run and the one in its place", rerun(base().ran(1, "09:05", "09:10", "09:15", "09:20"), crony.Lost), []string{
			"09:05:00 1 ran: in the place of the lost run 01M7W37CK0J6CZNJWE3R2P7SQ3 [succeeded]", "09:05:00 1 lost [lost]",
			"09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"the claim tells of a run that the log does not know yet", claimed(base().ran(1, "09:05", "09:10", "09:15")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]",
			"09:20:00 1 open: claimed, not started yet [claimed]", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"a pause that is not settled is skipped, by whom", base().ran(1, "09:05", "09:10", "09:15", "09:20").define("09:21", five, paused), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 skipped: the job was paused at 2026-11-20T09:21:00Z by alice",
		}},
		{"who changed a paused job is not who paused it", base().ran(1, "09:05", "09:10", "09:15", "09:20").define("09:21", five, paused).
			define("09:26", five, paused, func(d *crony.Definition) { d.PlanSince, d.UpdatedBy = clock("09:21"), "bob" }), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 skipped: the job was paused at 2026-11-20T09:21:00Z by alice",
		}},
		{"what a generation of before left undecided is missed", base().ran(1, "09:05", "09:10", "09:15", "09:20").define("09:26", "*/2 * * * *"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00 1 missed: the job was changed before an agent decided it", "09:28:00-09:30:00 2 open: " + open,
		}},
		{"a cursor of another schedule, ahead of a change, leaves no gap before it is settled", ahead(base().ran(1, "09:05", "09:10", "09:15", "09:20")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]",
			"09:19:58-09:19:59 2 missed: the job was changed right before it was due", "09:20:00 1 ran [succeeded]", "09:20:01-09:20:03 3 open: " + open,
		}},
		{"a change of what does not matter does not take the cursor's word for it", base().ran(1, "09:05", "09:10", "09:15").
			define("09:19:59", five, func(d *crony.Definition) { d.PlanSince = clock("09:00") }), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]",
			"09:20:00 1 unrecorded: nothing is recorded of it", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"an instant at which a definition comes is of the one before", base().ran(1, "09:05", "09:10", "09:15", "09:20").
			define("09:20", "*/15 * * * *").decided("09:20"), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:30:00 1 open: " + open,
		}},
		{"of before the oldest definition only records tell", kept(base().ran(1, "09:05").passed(1, 2, "09:10", "09:15", crony.EndMissed, "late").
			define("09:21", five).decided("09:21")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 missed: late", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"of a job that is gone only records tell", gone(base().ran(1, "09:05").passed(1, 2, "09:10", "09:15", crony.EndMissed, "late")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 missed: late",
		}},
		{"a run of a job of the same name before is not this job's", foreign(base().ran(1, "09:05", "09:10", "09:15")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:20:00 1 unrecorded: nothing is recorded of it", "09:25:00-09:30:00 2 open: " + open,
		}},
		{"what a calendar keeps from running is skipped, and parts what is around it", base().ran(1, "09:05", "09:20").
			passed(1, 1, "09:10", "09:10", crony.EndMissed, "late").with(blackout("09:12", "09:18"), blackout("09:24", "09:29")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 missed: late", "09:15:00 1 skipped: in a blackout of calendar works", "09:20:00 1 ran [succeeded]",
			"09:25:00 1 skipped: in a blackout of calendar works", "09:30:00 1 open: " + open,
		}},
		{"alike and next to each other is one entry", base().ran(1, "09:05").passed(1, 1, "09:20", "09:20", crony.EndMissed, "late").
			with(blackout("09:09", "09:18")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00-09:15:00 2 skipped: in a blackout of calendar works", "09:20:00 1 missed: late",
			"09:25:00-09:30:00 2 open: " + open,
		}},
		{"an agent that is away is why nothing is decided", away(base().ran(1, "09:05", "09:10", "09:15", "09:20")), []string{
			"09:05:00 1 ran [succeeded]", "09:10:00 1 ran [succeeded]", "09:15:00 1 ran [succeeded]", "09:20:00 1 ran [succeeded]",
			"09:25:00-09:30:00 2 open: its agent a1 is not connected",
		}},
		{"a job that runs only when told to has no occurrences", (&world{now: clock("09:30")}).define("09:00", "").decided("09:20"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, limit := range []int{1, 2, 1000} {
				for _, portion := range []int{0, 3} {
					test.w.portion = portion
					if diff := cmp.Diff(test.want, texts(test.w.list(t, clock("09:00"), test.w.now, limit))); diff != "" {
						t.Errorf("%d a page, %d at once (-want +got)\n%s", limit, portion, diff)
					}
				}
			}
		})
	}
}

// A stretch that is only in part in the time asked for is told as it stands, once.
func TestAccountTellsAStretchAsItStands(t *testing.T) {
	w := base().passed(1, 4, "09:05", "09:20", crony.EndMissed, "late")
	for _, test := range []struct{ from, to string }{{"09:00", "09:21"}, {"09:07", "09:21"}, {"09:11", "09:12"}, {"09:00", "09:12"}, {"09:20", "09:20"}} {
		want := []string{"09:05:00-09:20:00 4 missed: late"}
		if diff := cmp.Diff(want, texts(w.list(t, clock(test.from), clock(test.to), 1))); diff != "" {
			t.Errorf("from %s to %s (-want +got)\n%s", test.from, test.to, diff)
		}
	}
}

// A year of a job of each second that is paused is one entry, at once.
func TestAccountOfAYear(t *testing.T) {
	w := (&world{now: clock("09:00").AddDate(1, 0, 0)}).define("08:00", "* * * * * *").define("09:00", "* * * * * *", paused)
	w.Claim = crony.Claim{At: clock("09:00"), Generation: 1}
	w.passed(1, 3600, "08:00:01", "09:00", crony.EndMissed, "late")
	got := w.list(t, clock("09:00:01"), w.now, 0)
	if len(got) != 1 || got[0].Count != 365*24*3600 || got[0].End != crony.EndSkipped {
		t.Errorf("the year is %+v", got)
	}
}

// With more schedules than one a page stops when it has done enough, and the next goes on: nothing is left out or told twice.
func TestAccountGoesOnWhereItStopped(t *testing.T) {
	w := (&world{now: clock("09:00").AddDate(0, 0, 10)}).define("09:00", "* * * * * *", func(d *crony.Definition) {
		d.Job.Schedules = []crony.ScheduleEntry{{Cron: "30 * * * *"}}
	}).decided("09:00")
	var n int64
	last := clock("09:00")
	entries := w.list(t, clock("09:00:01"), w.now, 0)
	for _, e := range entries {
		if !e.From.Equal(last.Add(time.Second)) {
			t.Errorf("after %s comes %s", last, e.From)
		}
		n, last = n+e.Count, e.To
	}
	if n != 10*24*3600 || len(entries) < 2 {
		t.Errorf("%d occurrences in %d entries", n, len(entries))
	}
}

func TestListRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		q    crony.LedgerQuery
		code crony.Code
	}{
		{"a limit out of range", crony.LedgerQuery{Limit: 1001}, crony.Invalid},
		{"a cursor of its own making", crony.LedgerQuery{Cursor: "next"}, crony.Invalid},
		{"an end before the beginning", crony.LedgerQuery{From: clock("10:00"), To: clock("09:00")}, crony.Invalid},
	} {
		_, err := base().ledger(t).ListLedger(t.Context(), test.q)
		if crony.CodeOf(err) != test.code {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := (&world{gone: true, now: clock("09:00")}).ledger(t).ListLedger(t.Context(), crony.LedgerQuery{}); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a job that never was: %v", err)
	}
}

func inStates(w *world, states ...crony.RunState) *world {
	for i, s := range states {
		w.runs[i].State = s
	}
	return w
}

func claimed(w *world) *world {
	w.Claim.Run, w.Claim.Agent = crony.OccurrenceRunID("U", w.Claim.At, ""), "a1"
	return w
}

// ahead has the job come due each second from 09:19:57 on; its cursor is that of the run at 09:20, claimed before.
func ahead(w *world) *world {
	w.define("09:19:57", "* * * * * *")
	w.now = clock("09:20:03")
	return w
}

// kept forgets the first generation.
func kept(w *world) *world {
	w.Definitions = w.Definitions[1:]
	return w
}

func gone(w *world) *world {
	w.gone = true
	return w
}

func foreign(w *world) *world {
	w.runs = append(w.runs, runOf("V", 7, clock("09:20")))
	return w
}

func away(w *world) *world {
	w.Holders[0].Connected = false
	return w
}

// with has the job keep a calendar with blackouts, from the first on.
func (w *world) with(list ...crony.Blackout) *world {
	for i := range w.Definitions {
		d := &w.Definitions[i]
		d.Calendars = []crony.Calendar{{Name: "works", Blackouts: list}}
		d.Job.Calendars = []crony.CalendarUse{{Name: "works", On: crony.CalendarSkip}}
	}
	return w
}

func blackout(from, to string) crony.Blackout {
	return crony.Blackout{From: clock(from), To: clock(to)}
}
