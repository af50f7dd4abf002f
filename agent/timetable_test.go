package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"crony"
	"crony/internal/schedule"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func plan(t testing.TB, text string) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(text, schedule.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLatest holds latest against walking through every occurrence.
func TestLatest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, text := range []string{
		"* * * * *", "* * * * * *", "*/7 3 * * *", "0 0 1 * *", "0 0 29 2 *", "@every 17s", "@every 3h", "30 9 * * 1-5", "0-20 0 5 1 1 *",
	} {
		s := plan(t, text)
		for range 60 {
			cursor := noon.Add(time.Duration(rng.Int64N(int64(400 * 24 * time.Hour))))
			most := []time.Duration{time.Second, time.Minute, 3 * time.Hour, 50 * time.Hour}[rng.IntN(4)]
			now := cursor.Add(time.Duration(rng.Int64N(int64(2*most))) - most/2)
			want := s.Next(cursor)
			for at := want; !at.IsZero() && !at.After(now); at = s.Next(at) {
				want = at
			}
			if got := latest(s, cursor, now); !got.Equal(want) {
				t.Errorf("%s: latest(%s, %s) = %s, want %s", text, cursor, now, got, want)
			}
		}
	}
}

// TestLatestLongAgo has cursors from which counting occurrences, or seconds in a Duration, would come to no end.
func TestLatestLongAgo(t *testing.T) {
	for _, cursor := range []time.Time{{}, time.Unix(0, 0), noon.AddDate(-300, 0, 0), noon.AddDate(-20, 0, 0)} {
		if got, want := latest(plan(t, "* * * * * *"), cursor, noon), noon; !got.Equal(want) {
			t.Errorf("every second from %s: %s, want %s", cursor, got, want)
		}
		if got, want := latest(plan(t, "0 0 29 2 *"), cursor, noon), time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("leap days from %s: %s, want %s", cursor, got, want)
		}
	}
}

func definition(name, cron string, change ...func(*crony.Job)) crony.Definition {
	def := crony.Definition{UID: "uid-" + name, Generation: 1, Job: crony.Job{Name: name, Schedule: cron,
		Shell: &crony.Shell{Argv: []string{"/bin/true"}}}}
	for _, c := range change {
		c(&def.Job)
	}
	return def
}

func names(jobs []*job) []string {
	var list []string
	for _, j := range jobs {
		list = append(list, fmt.Sprintf("%s@%s", j.def.Job.Name, j.next.Format(time.TimeOnly)))
	}
	slices.Sort(list)
	return list
}

func expectDue(t *testing.T, table *timetable, now time.Time, want ...string) []*job {
	t.Helper()
	due := table.due(now)
	if got := names(due); !slices.Equal(got, want) {
		t.Errorf("due at %s: %v, want %v", now.Format(time.TimeOnly), got, want)
	}
	return due
}

func TestTimetable(t *testing.T) {
	table := newTimetable()
	table.assign(definition("minute", "* * * * *"), 1, noon, noon)
	table.assign(definition("none", ""), 2, noon, noon)
	table.assign(definition("paused", "* * * * *", func(j *crony.Job) { j.Paused = true }), 3, noon, noon)
	table.assign(definition("late", "0 * * * *"), 4, noon.Add(-72*time.Hour), noon)

	late := expectDue(t, table, noon, "late@12:00:00")[0] // one for three days
	expectDue(t, table, noon.Add(time.Second))
	expectDue(t, table, noon.Add(askAgain), "late@12:00:00")
	table.settle(late, late.next, noon.Add(askAgain), true)
	if want := noon.Add(time.Hour); !late.next.Equal(want) {
		t.Errorf("next %s, want %s", late.next, want)
	}
	expectDue(t, table, noon.Add(59*time.Second-1))
	if at, want := table.wake(true), noon.Add(59*time.Second); !at.Equal(want) {
		t.Errorf("wakes at %s, want %s", at, want)
	}
	minute := expectDue(t, table, noon.Add(59*time.Second), "minute@12:01:00")[0]
	table.settle(minute, noon, noon.Add(time.Minute), true) // an old answer
	if !minute.next.Equal(noon.Add(time.Minute)) {
		t.Errorf("an answer for another occurrence moved the job on, to %s", minute.next)
	}
	table.unassign("minute")
	table.unassign("nobody")
	expectDue(t, table, noon.Add(2*time.Minute))
}

// TestForwardStep has the clock go forward, as after a suspend: what was skipped is asked for once.
func TestForwardStep(t *testing.T) {
	table := newTimetable()
	table.assign(definition("minute", "* * * * *"), 1, noon, noon)
	j := expectDue(t, table, noon.Add(time.Hour+30*time.Second), "minute@13:00:00")[0]
	expectDue(t, table, noon.Add(2*time.Hour), "minute@13:00:00") // asked for already: the same again
	table.settle(j, j.next, noon.Add(time.Hour+31*time.Second), true)
	expectDue(t, table, noon.Add(time.Hour+59*time.Second), "minute@13:01:00")
}

// TestBackwardStep has the clock go back while an answer is out, and after a refusal far in the future.
func TestBackwardStep(t *testing.T) {
	table := newTimetable()
	table.assign(definition("minute", "* * * * *"), 1, noon, noon)
	future := noon.Add(1000 * time.Hour)
	j := expectDue(t, table, future, "minute@04:00:00")[0]
	now := noon.Add(10 * time.Second)
	table.rewind(now)
	expectDue(t, table, now)
	expectDue(t, table, noon.Add(59*time.Second), "minute@12:01:00")
	table.settle(j, j.next, noon.Add(59*time.Second), false)
	table.rewind(noon)
	expectDue(t, table, noon.Add(59*time.Second), "minute@12:01:00") // refused is not decided
	table.settle(j, j.next, noon.Add(59*time.Second), true)
	table.rewind(noon)
	expectDue(t, table, noon.Add(59*time.Second)) // granted is
}

// TestTimetableRandom drives the timetable through random assignments, answers and steps of the clock, and checks what must
// hold whatever happens: no occurrence is granted twice, none is asked for more than a second ahead, and none is forgotten.
func TestTimetableRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	table, now, epoch := newTimetable(), noon, int64(0)
	cursors, granted := map[string]time.Time{}, map[string]bool{}
	crons := []string{"* * * * * *", "*/5 * * * * *", "* * * * *", "@every 13s"}
	for range 20_000 {
		name := fmt.Sprint("job", rng.IntN(12))
		switch rng.IntN(20) {
		case 0:
			epoch++
			cursors[name] = maxTime(cursors[name], now)
			table.assign(definition(name, crons[rng.IntN(4)]), epoch, cursors[name], now)
		case 1:
			table.unassign(name)
		case 2:
			now = now.Add(time.Duration(rng.Int64N(int64(time.Hour))))
		case 3:
			now = now.Add(-time.Duration(rng.Int64N(int64(time.Hour))))
			table.rewind(now)
		default:
			now = now.Add(time.Duration(rng.Int64N(int64(3 * time.Second))))
		}
		for _, j := range table.due(now) {
			if j.next.After(now.Add(ahead)) {
				t.Fatalf("%s asked for at %s", j.next, now)
			}
			name, at := j.def.Job.Name, j.next
			if rng.IntN(4) == 0 {
				continue // no answer
			}
			grant := at.After(cursors[name])
			if grant {
				cursors[name] = at
				key := name + at.String()
				if granted[key] {
					t.Fatal("granted twice: ", key)
				}
				granted[key] = true
			}
			table.settle(j, at, now, grant)
		}
		for name, j := range table.jobs {
			if j.place == 0 || table.asks[j.place-1] != j || j.when().After(maxTime(now, j.cursor).Add(61*time.Second)) {
				t.Fatalf("%s is forgotten: place %d, due %s, at %s", name, j.place, j.when(), now)
			}
		}
	}
	if len(granted) < 1000 {
		t.Errorf("only %d grants", len(granted))
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func BenchmarkTimetable(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newTimetable()
			for i := range n {
				table.assign(definition(fmt.Sprint("job", i), fmt.Sprintf("%d * * * *", i%60)), 1, noon, noon)
			}
			now := noon
			for b.Loop() {
				now = now.Add(time.Millisecond)
				for _, j := range table.due(now) {
					table.settle(j, j.next, now, true)
				}
			}
		})
	}
}

// Jitter moves when an occurrence is asked for and started, and never which one it is.
func TestJitter(t *testing.T) {
	def := crony.Definition{Job: crony.Job{Name: "a", Schedules: []crony.ScheduleEntry{
		{Cron: "0 * * * *", Jitter: crony.Duration(10 * time.Minute)}}}}
	noon := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	table := newTimetable()
	table.assign(def, 1, noon.Add(-time.Minute), noon.Add(-time.Minute))
	j := table.jobs["a"]
	start := def.Plan().Start(noon)
	if !start.After(noon.Add(ahead)) {
		t.Fatalf("the occurrence starts at %s, so this test shows nothing: rename the job", start)
	}
	if due := table.due(start.Add(-ahead - 1)); len(due) > 0 {
		t.Errorf("asked for more than a second before it starts")
	}
	if due := table.due(start.Add(-ahead)); len(due) != 1 || !due[0].next.Equal(noon) {
		t.Fatalf("a second before its start: %d jobs due, the next occurrence is %s", len(due), j.next)
	}
	table.grant(&seat{run: "r", job: j, at: noon})
	table.settle(j, noon, start.Add(-ahead), true)
	if runs := table.ready(start.Add(-1)); len(runs) > 0 {
		t.Error("started before its time")
	}
	if runs := table.ready(start); len(runs) != 1 || !runs[0].at.Equal(noon) {
		t.Errorf("at its start: %d runs", len(runs))
	}
	if !j.next.Equal(noon.Add(time.Hour)) {
		t.Errorf("then comes %s", j.next)
	}
}
