package crony

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// decided is what became of a plan's occurrences when the steps were taken one after the other, with nothing in between.
type decided struct{ ran, caughtUp, missed []string }

// under returns p with another misfire policy.
func under(m Misfire, p *Plan) *Plan { return &Plan{set: p.set, extra: &extra{misfire: m}} }

// play takes the steps until nothing is due, and checks that each says what it does.
func play(t *testing.T, p *Plan, cursor, now time.Time) decided {
	t.Helper()
	var d decided
	for range 100_000 {
		step := p.Step(cursor, now)
		switch {
		case step == (Step{}):
			return d
		case !step.Until.IsZero():
			if !step.Until.After(cursor) || step.Until.After(now) || step.Reason == "" || !step.At.IsZero() {
				t.Fatalf("a step that passes over nothing, over what is to come, or without a reason: %+v", step)
			}
			for at := p.Next(cursor); !at.IsZero() && !at.After(step.Until); at = p.Next(at) {
				d.missed = append(d.missed, at.Format(time.TimeOnly))
			}
			cursor = step.Until
		case !step.At.Equal(p.Next(cursor)) || !step.Start.Equal(p.Start(step.At)):
			t.Fatalf("step %+v, but the next occurrence is %s", step, p.Next(cursor))
		case step.Start.After(now):
			return d
		default:
			list := &d.ran
			if step.CatchUp {
				list = &d.caughtUp
			}
			*list = append(*list, step.At.Format(time.TimeOnly))
			cursor = step.At
		}
	}
	t.Fatal("it comes to no end")
	return d
}

func TestMisfire(t *testing.T) {
	noon := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, policy string
		cursor, now  string
		want         decided
	}{
		{"on time", "", "11:50:00", "12:00:00", decided{ran: []string{"12:00:00"}}},
		{"a little late is late, not missed", "{policy: skip}", "11:50:00", "12:00:09", decided{ran: []string{"12:00:00"}}},
		{"once is the default", "", "11:20:00", "12:05:00",
			decided{caughtUp: []string{"12:00:00"}, missed: []string{"11:30:00", "11:40:00", "11:50:00"}}},
		{"the one that runs once may itself be in time", "{policy: once}", "11:20:00", "12:00:05",
			decided{ran: []string{"12:00:00"}, missed: []string{"11:30:00", "11:40:00", "11:50:00"}}},
		{"skip", "{policy: skip}", "11:20:00", "12:00:05",
			decided{ran: []string{"12:00:00"}, missed: []string{"11:30:00", "11:40:00", "11:50:00"}}},
		{"skip, between two", "{policy: skip}", "11:40:00", "12:05:00", decided{missed: []string{"11:50:00", "12:00:00"}}},
		{"all, in order", "{policy: all}", "11:20:00", "12:00:05",
			decided{caughtUp: []string{"11:30:00", "11:40:00", "11:50:00"}, ran: []string{"12:00:00"}}},
		{"all up to a limit, the newest", "{policy: all, limit: 2}", "11:20:00", "12:05:00",
			decided{caughtUp: []string{"11:50:00", "12:00:00"}, missed: []string{"11:30:00", "11:40:00"}}},
		{"all within a deadline", "{policy: all, deadline: 20m}", "11:20:00", "12:05:00",
			decided{caughtUp: []string{"11:50:00", "12:00:00"}, missed: []string{"11:30:00", "11:40:00"}}},
		{"exactly at the deadline", "{policy: all, deadline: 15m}", "11:20:00", "12:05:00",
			decided{caughtUp: []string{"11:50:00", "12:00:00"}, missed: []string{"11:30:00", "11:40:00"}}},
		{"once within a deadline", "{policy: once, deadline: 1m}", "11:40:00", "12:05:00",
			decided{missed: []string{"11:50:00", "12:00:00"}}},
		{"a deadline and a limit", "{policy: all, deadline: 30m, limit: 1}", "11:20:00", "12:05:00",
			decided{caughtUp: []string{"12:00:00"}, missed: []string{"11:30:00", "11:40:00", "11:50:00"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manifest := "{}"
			if tt.policy != "" {
				manifest = tt.policy
			}
			p := planOf(t, `jobs: [{name: a, schedule: "*/10 * * * *", misfire: `+manifest+`, shell: {command: a}}]`)
			on := func(clock string) time.Time {
				d, _ := time.Parse(time.TimeOnly, clock)
				return noon.Truncate(24 * time.Hour).Add(d.Sub(d.Truncate(24 * time.Hour)))
			}
			got := play(t, p, on(tt.cursor), on(tt.now))
			if !slices.Equal(got.ran, tt.want.ran) || !slices.Equal(got.caughtUp, tt.want.caughtUp) || !slices.Equal(got.missed, tt.want.missed) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestMisfireRandom holds the steps against the policies' own words, over random schedules, with jitter.
func TestMisfireRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	base := time.Date(2027, 3, 20, 0, 0, 0, 0, time.UTC)
	for _, entry := range []string{`{cron: "*/20 * * * * *"}`, `{every: 7s}`, `{cron: "*/3 * * * *", jitter: 2m}`,
		`{cron: "30 2 * * *", timezone: Europe/Berlin}`, `{cron: "17 * * * *", jitter: 40m}`} {
		p := planOf(t, `jobs: [{name: a, schedules: [`+entry+`], shell: {command: a}}]`)
		for range 300 {
			m := &Misfire{Policy: []MisfirePolicy{"", MisfireSkip, MisfireOnce, MisfireAll}[rng.IntN(4)]}
			if rng.IntN(2) == 0 {
				m.Deadline = Duration(rng.Int64N(int64(2 * time.Hour)))
			}
			if rng.IntN(2) == 0 {
				m.Limit = 1 + rng.IntN(20)
			}
			cursor := base.Add(time.Duration(rng.Int64N(int64(20 * 24 * time.Hour))))
			now := cursor.Add(time.Duration(rng.Int64N(int64([]time.Duration{time.Minute, time.Hour, 5 * time.Hour}[rng.IntN(3)]))))
			got, want := play(t, under(*m, p), cursor, now), expected(p, cursor, now, m)
			if !slices.Equal(got.ran, want.ran) || !slices.Equal(got.caughtUp, want.caughtUp) || !slices.Equal(got.missed, want.missed) {
				t.Fatalf("%s %+v from %s to %s:\ngot  %+v\nwant %+v", entry, *m, cursor, now, got, want)
			}
		}
	}
}

// expected says by going through every occurrence what a policy makes of them.
func expected(p *Plan, cursor, now time.Time, m *Misfire) (d decided) {
	var due []time.Time
	for at := p.Next(cursor); !at.IsZero() && !p.Start(at).After(now); at = p.Next(at) {
		due = append(due, at)
	}
	inTime := func(at time.Time) bool { return p.Start(at).After(now.Add(-MisfireGrace)) }
	anyMissed := len(due) > 0 && !inTime(due[0])
	limit := or(m.Limit, DefaultMisfireLimit)
	for i, at := range due {
		text, left := at.Format(time.TimeOnly), len(due)-i
		past := m.Deadline > 0 && p.Start(at).Before(now.Add(-m.Deadline.Std())) && !inTime(at)
		switch policy := or(m.Policy, MisfireOnce); {
		case !anyMissed:
			d.ran = append(d.ran, text)
		case policy == MisfireSkip && !inTime(at), policy == MisfireOnce && left > 1, past, policy == MisfireAll && left > limit:
			d.missed = append(d.missed, text)
		case inTime(at):
			d.ran = append(d.ran, text)
		default:
			d.caughtUp = append(d.caughtUp, text)
		}
	}
	return d
}

// TestStepLongAgo has cursors from which counting occurrences, or seconds in a Duration, would come to no end.
func TestStepLongAgo(t *testing.T) {
	noon := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	p := planOf(t, `jobs: [{name: a, schedule: "* * * * * *", shell: {command: a}}]`)
	for _, cursor := range []time.Time{{}, time.Unix(0, 0), noon.AddDate(-300, 0, 0), noon.AddDate(-20, 0, 0)} {
		for policy, want := range map[MisfirePolicy]time.Duration{MisfireSkip: -MisfireGrace, MisfireOnce: -1, MisfireAll: -99*time.Second - 1} {
			if got := under(Misfire{Policy: policy}, p).Step(cursor, noon); !got.Until.Equal(noon.Add(want)) {
				t.Errorf("%s from %s: %+v", policy, cursor, got)
			}
		}
	}
}

func TestMisfireFaults(t *testing.T) {
	for _, tt := range []struct{ misfire, want string }{
		{`{policy: never}`, "jobs[0].misfire.policy"}, {`{limit: -1}`, "jobs[0].misfire.limit"}, {`{limit: 1001}`, "jobs[0].misfire.limit"},
		{`{deadline: -1h}`, "jobs[0].misfire.deadline"},
	} {
		_, err := DecodeManifest(fmt.Appendf(nil, "jobs: [{name: a, shell: {command: a}, misfire: %s}]", tt.misfire))
		if e, ok := errors.AsType[*Error](err); !ok || len(e.Faults) != 1 || e.Faults[0].Path != tt.want {
			t.Errorf("%s: %v", tt.misfire, err)
		}
	}
}
