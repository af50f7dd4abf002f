//go:build linux

package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"crony"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func definition(name, cron string, change ...func(*crony.Job)) crony.Definition {
	def := crony.Definition{UID: "uid-" + name, Generation: 1, Job: crony.Job{Name: name, Schedule: cron,
		Shell: &crony.Shell{Argv: []string{"/bin/true"}}}}
	for _, c := range change {
		c(&def.Job)
	}
	return def
}

// names says what is asked for: a claim as job@time, a pass as job..time.
func names(jobs []*job) []string {
	var list []string
	for _, j := range jobs {
		if j.asked.Until.IsZero() {
			list = append(list, fmt.Sprintf("%s@%s", j.name, j.asked.At.Format(time.TimeOnly)))
		} else {
			list = append(list, fmt.Sprintf("%s..%s", j.name, j.asked.Until.Format(time.TimeOnly)))
		}
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
	table := newTimetable(time.LoadLocation)
	table.assign(definition("minute", "* * * * *"), 1, noon, noon)
	table.assign(definition("none", ""), 2, noon, noon)
	table.assign(definition("paused", "* * * * *", func(j *crony.Job) { j.Paused = true }), 3, noon, noon)
	table.assign(definition("late", "30 * * * *"), 4, noon, noon.Add(-72*time.Hour))

	late := expectDue(t, table, noon, "late..11:29:59")[0] // all but the last of three days
	expectDue(t, table, noon.Add(time.Second))
	expectDue(t, table, noon.Add(askAgain), "late..11:29:59") // no answer: the same again
	table.settle(late, late.asked.Until)
	late = expectDue(t, table, noon.Add(askAgain), "late@11:30:00")[0]
	if !late.asked.CatchUp {
		t.Error("a run that makes up for what was missed is not marked")
	}
	table.settle(late, late.asked.At)
	if got, want := late.next.time(), noon.Add(30*time.Minute-ahead); !got.Equal(want) {
		t.Errorf("next asked for at %s, want %s", got, want)
	}
	asks := noon.Add(time.Minute - ahead)
	expectDue(t, table, asks.Add(-1))
	if at := table.wake(true); !at.Equal(asks) {
		t.Errorf("wakes at %s, want %s", at, asks)
	}
	minute := expectDue(t, table, asks, "minute@12:01:00")[0]
	table.settle(minute, noon) // an old answer
	if minute.asked == nil || !minute.asked.At.Equal(noon.Add(time.Minute)) {
		t.Errorf("an answer for another occurrence moved the job on, to %+v", minute.asked)
	}
	table.unassign("minute")
	table.unassign("nobody")
	expectDue(t, table, noon.Add(2*time.Minute))
}

// TestForwardStep has the clock go forward, as after a suspend: the policy decides about what lies in between.
func TestForwardStep(t *testing.T) {
	table := newTimetable(time.LoadLocation)
	table.assign(definition("minute", "* * * * *"), 1, noon, noon)
	j := expectDue(t, table, noon.Add(time.Hour+30*time.Second), "minute..12:59:59")[0]
	expectDue(t, table, noon.Add(2*time.Hour), "minute..12:59:59") // asked for already: the same again
	table.settle(j, j.asked.Until)
	expectDue(t, table, noon.Add(time.Hour+31*time.Second), "minute@13:00:00")
	table.settle(j, j.asked.At)
	expectDue(t, table, noon.Add(time.Hour+59*time.Second), "minute@13:01:00")
}

// TestBackwardStep has the clock go back while an answer is out, and after a refusal far in the future.
func TestBackwardStep(t *testing.T) {
	table := newTimetable(time.LoadLocation)
	table.assign(definition("minute", "* * * * *", func(j *crony.Job) { j.Misfire = &crony.Misfire{Policy: crony.MisfireAll} }), 1, noon, noon)
	future := noon.Add(1000 * time.Hour)
	j := expectDue(t, table, future, "minute..02:20:59")[0]
	table.rewind()
	expectDue(t, table, noon.Add(10*time.Second))
	expectDue(t, table, noon.Add(59*time.Second), "minute@12:01:00")
	table.settle(j, time.Time{}) // refused is not decided
	table.rewind()
	expectDue(t, table, noon.Add(59*time.Second), "minute@12:01:00")
	table.settle(j, j.asked.At)
	table.rewind()
	expectDue(t, table, noon.Add(59*time.Second)) // granted is
}

// TestPace has many jobs that all missed much: what is made up for comes one after the other, each job's in order, and what
// is on time waits for none of it.
func TestPace(t *testing.T) {
	table := newTimetable(time.LoadLocation)
	all := func(j *crony.Job) { j.Misfire = &crony.Misfire{Policy: crony.MisfireAll, Limit: 5} }
	for n := range 100 {
		table.assign(definition(fmt.Sprint("job", n), "*/10 * * * *", all), 1, noon, noon.Add(-48*time.Minute))
	}
	table.assign(definition("clock", "* * * * * *"), 1, noon, noon)
	now, caughtUp, onTime, last := noon.Add(30*time.Second), 0, 0, map[string]time.Time{}
	table.jobs["clock"].cursor = nanosOf(now)
	table.plan(table.jobs["clock"])
	for end := now.Add(12 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		for _, j := range table.due(now) {
			name := j.name
			switch {
			case name == "clock":
				onTime++
			case !j.asked.CatchUp || !j.asked.Until.IsZero():
				t.Fatalf("%+v", j.asked)
			case !j.asked.At.After(last[name]):
				t.Fatalf("%s: %s after %s", name, j.asked.At, last[name])
			default:
				caughtUp++
				last[name] = j.asked.At
			}
			table.settle(j, j.asked.At)
		}
		if most := int(now.Sub(noon.Add(30*time.Second))/pace) + 1; caughtUp > most {
			t.Fatalf("%d at %s, more than the pace of one in %s allows", caughtUp, now, pace)
		}
	}
	if caughtUp != 500 || onTime < 12 {
		t.Errorf("made up for %d of 500, %d on time", caughtUp, onTime)
	}
}

// TestTimetableRandom drives the timetable through random assignments, answers, lost answers and steps of the clock, against
// a server that decides as the real one does, and checks what must hold whatever happens: each occurrence is granted once or
// passed over once, in order; none is asked for sooner than it may be; and no job is forgotten.
func TestTimetableRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	table, now, epoch := newTimetable(time.LoadLocation), noon, int64(0)
	type server struct {
		cursor time.Time
		epoch  int64
		plan   *crony.Plan
	}
	servers := map[string]*server{}
	crons := []string{"* * * * * *", "*/5 * * * * *", "* * * * *", "@every 13s"}
	policies := []crony.MisfirePolicy{crony.MisfireSkip, crony.MisfireOnce, crony.MisfireAll}
	granted, passed := 0, 0
	for range 40_000 {
		name := fmt.Sprint("job", rng.IntN(12))
		switch s := servers[name]; rng.IntN(20) {
		case 0: // changed, and so planned from now on
			epoch++
			def := definition(name, crons[rng.IntN(4)], func(j *crony.Job) {
				j.Misfire = &crony.Misfire{Policy: policies[rng.IntN(3)], Limit: 1 + rng.IntN(30)}
			})
			if s == nil {
				s = &server{cursor: now}
				servers[name] = s
			}
			s.cursor, s.epoch, s.plan = maxTime(s.cursor, now), epoch, def.Plan()
			table.assign(def, epoch, now, s.cursor)
		case 1: // a new stream
			if j := table.jobs[name]; j != nil {
				table.assign(j.def.unpack(), j.epoch, j.since.time(), s.cursor)
			}
		case 2:
			now = now.Add(time.Duration(rng.Int64N(int64(time.Hour))))
		case 3:
			now = now.Add(-time.Duration(rng.Int64N(int64(10 * time.Minute))))
			table.rewind()
		default:
			now = now.Add(time.Duration(rng.Int64N(int64(3 * time.Second))))
		}
		for _, j := range table.due(now) {
			s, step := servers[j.name], j.asked
			if s.epoch != j.epoch {
				t.Fatal("asked by an epoch that is over")
			}
			heard, cursor := rng.IntN(4) > 0, s.cursor
			switch {
			case !step.Until.IsZero() && s.cursor.Equal(j.cursor.time()):
				if !step.Until.Before(now) {
					t.Fatalf("passes over %s at %s", step.Until, now)
				}
				passed++
				s.cursor, cursor = step.Until, step.Until
			case !step.Until.IsZero(): // refused: the cursor is elsewhere
			case step.Start.After(now.Add(ahead)):
				t.Fatalf("%s asked for at %s", step.At, now)
			case step.At.After(s.cursor):
				if next := s.plan.Next(s.cursor); !next.Equal(step.At) {
					t.Fatalf("granted %s, and nothing was said of %s", step.At, next)
				}
				granted++
				s.cursor, cursor = step.At, step.At
			}
			if heard {
				table.settle(j, cursor)
			}
		}
		for name, j := range table.jobs {
			if j.place == 0 || table.asks[j.place-1] != j || j.next.time().After(maxTime(now, j.cursor.time()).Add(61*time.Second)) {
				t.Fatalf("%s is forgotten: place %d, due %s, at %s", name, j.place, j.next.time(), now)
			}
		}
	}
	if granted < 10_000 || passed < 1000 {
		t.Errorf("only %d granted and %d passed", granted, passed)
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
			table := newTimetable(time.LoadLocation)
			for i := range n {
				table.assign(definition(fmt.Sprint("job", i), fmt.Sprintf("%d * * * *", i%60)), 1, noon, noon)
			}
			now := noon
			for b.Loop() {
				now = now.Add(time.Millisecond)
				for _, j := range table.due(now) {
					table.settle(j, j.asked.At)
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
	table := newTimetable(time.LoadLocation)
	table.assign(def, 1, noon, noon.Add(-time.Minute))
	j := table.jobs["a"]
	start := def.Plan().Start(noon)
	if !start.After(noon.Add(ahead)) {
		t.Fatalf("the occurrence starts at %s, so this test shows nothing: rename the job", start)
	}
	if due := table.due(start.Add(-ahead - 1)); len(due) > 0 {
		t.Errorf("asked for more than a second before it starts")
	}
	if due := table.due(start.Add(-ahead)); len(due) != 1 || !due[0].asked.At.Equal(noon) {
		t.Fatalf("a second before its start: %d jobs due, asked for %+v", len(due), j.asked)
	}
	table.grant(&seat{run: "r", job: j, at: noon})
	table.settle(j, noon)
	if runs := table.ready(start.Add(-1)); len(runs) > 0 {
		t.Error("started before its time")
	}
	if runs := table.ready(start); len(runs) != 1 || !runs[0].at.Equal(noon) {
		t.Errorf("at its start: %d runs", len(runs))
	}
	if got, want := j.next.time(), def.Plan().Start(noon.Add(time.Hour)).Add(-ahead); !got.Equal(want) {
		t.Errorf("then asks at %s, want %s", got, want)
	}
}
