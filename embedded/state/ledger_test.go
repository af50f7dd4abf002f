package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
)

// pass asks to pass over the seconds after one and up to another.
func (r *rig) pass(job, agent string, epoch int64, after, until int) Decision {
	r.t.Helper()
	decisions, err := r.Claim(r.ctx(), []Ask{{Job: job, Agent: agent, Epoch: epoch, At: second(until), After: second(after), Reason: "test"}})
	if err != nil {
		r.t.Fatal(err)
	}
	return decisions[0]
}

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

// recorded says what the records that wait for the run log amount to.
func (r *rig) recorded() []string {
	r.t.Helper()
	var list []string
	for _, p := range r.Passes() {
		s, ok := p.Stretch()
		if !ok {
			r.t.Errorf("a record of nothing: %+v", p)
		}
		text := fmt.Sprintf("%s %s-%s %d %s", s.Job, s.From.Format("05"), s.To.Format("05"), s.Count, s.End)
		if p.Unless != "" {
			text += " unless it is reported"
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

func (r *rig) wantRecorded(want ...string) {
	r.t.Helper()
	if got := r.recorded(); !slices.Equal(got, want) {
		r.t.Errorf("recorded:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPass moves the cursor and leaves a record in one write, once, and only from where the agent takes it to be.
func TestPass(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	epoch := r.give("a1", "a")
	r.granted(r.ask("a", "a1", epoch, 1))
	r.clock.forward(10 * time.Second)
	for range 2 { // the answer was lost: it is asked again
		d := r.pass("a", "a1", epoch, 1, 5)
		if err := r.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := r.look("a").claim.At; !n.Equal(second(5)) {
			t.Errorf("the cursor is at %s", n)
		}
		if d.Granted {
			continue
		}
		if !d.Cursor.Equal(second(5)) {
			t.Errorf("refused, and the cursor is said to be %s", d.Cursor)
		}
	}
	r.wantRecorded("a 02-05 4 missed")
	for _, wrong := range []Decision{
		r.pass("a", "a1", epoch, 4, 8),   // the cursor is elsewhere
		r.pass("a", "a1", epoch, 6, 8),   // likewise
		r.pass("a", "a2", epoch, 5, 8),   // another's job
		r.pass("a", "a1", epoch+1, 5, 8), // another epoch
		r.pass("a", "a1", epoch, 8, 8),   // nothing
		r.pass("a", "a1", epoch, 9, 8),
		r.pass("a", "a1", epoch, 5, 11), // not due yet
		r.pass("a", "a1", epoch, 5, 3600),
		r.pass("b", "a1", epoch, 5, 8),
	} {
		if wrong.Granted || wrong.Reason == "" {
			t.Errorf("%+v", wrong)
		}
	}
	r.wantRecorded("a 02-05 4 missed")
	r.refused(r.ask("a", "a1", epoch, 5), "decided already")
	r.granted(r.ask("a", "a1", epoch, 6))
	p := r.Passes()
	if p[0].Reason != "test" || p[0].Agent != "a1" || p[0].Definition.UID != r.look("a").def.UID || p[0].Definition.Job.Shell != nil {
		t.Errorf("%+v", p[0])
	}
	for range 2 {
		if err := r.Forget(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	r.wantRecorded()
	if keys := r.keys(passes); len(keys) > 0 {
		t.Error(keys)
	}
}

// TestSettle has jobs change in every way, and looks at what is recorded of the time before.
func TestSettle(t *testing.T) {
	pause := func(r *rig, paused bool) {
		if _, err := r.PauseJob(r.ctx(), "a", paused); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		story func(r *rig)
		want  []string
		at    int // where the cursor is in the end
	}{
		{"nothing happened", func(*rig) {}, nil, 0},
		{"another command: the policy decides", func(r *rig) {
			r.clock.forward(9 * time.Second)
			r.define(job1("a", "2"))
		}, nil, 0},
		{"paused and resumed", func(r *rig) {
			r.clock.forward(3 * time.Second)
			pause(r, true)
			r.clock.forward(10 * time.Second)
			pause(r, false)
			r.clock.forward(4 * time.Second)
		}, []string{"a 01-03 3 missed", "a 04-13 10 skipped"}, 13},
		{"paused and settled, then changed and resumed", func(r *rig) {
			pause(r, true)
			r.settle("a")
			r.clock.forward(10 * time.Second)
			paused := job1("a", "2")
			paused.Paused = true
			r.define(paused)
			r.settle("a")
			r.clock.forward(10 * time.Second)
			pause(r, false)
		}, []string{"a 01-20 20 skipped"}, 20},
		{"still paused", func(r *rig) {
			pause(r, true)
			r.clock.forward(10 * time.Second)
		}, nil, 0},
		{"another schedule, twice", func(r *rig) {
			r.clock.forward(4 * time.Second)
			j := job1("a", "1")
			j.Schedule = "*/2 * * * * *"
			r.define(j)
			r.clock.forward(4 * time.Second)
			j.Schedule = "*/5 * * * * *"
			r.define(j)
			r.clock.forward(4 * time.Second)
		}, []string{"a 01-04 4 missed", "a 06-08 2 missed"}, 8},
		{"claimed, then another command", func(r *rig) {
			r.granted(r.ask("a", "a1", r.settle("a"), 1))
			r.define(job1("a", "2"))
		}, []string{"a 01-01 1 lost unless it is reported"}, 1},
		{"claimed ahead, then another schedule", func(r *rig) {
			j := job1("a", "1")
			j.Schedule = "*/4 * * * * *"
			r.define(j)
			r.granted(r.ask("a", "a1", r.settle("a"), 4))
			r.clock.forward(time.Second)
			j.Schedule = "*/2 * * * * *"
			r.define(j)
		}, []string{"a 02-02 1 missed", "a 04-04 1 lost unless it is reported"}, 4},
		{"claimed ahead, then two other schedules", func(r *rig) {
			j := job1("a", "1")
			j.Schedule = "*/4 * * * * *"
			r.define(j)
			epoch := r.settle("a")
			r.granted(r.ask("a", "a1", epoch, 4))
			r.granted(r.ask("a", "a1", epoch, 8))
			r.clock.forward(time.Second)
			j.Schedule = "*/2 * * * * *"
			r.define(j)
			r.clock.forward(time.Second)
			j.Schedule = "*/3 * * * * *"
			r.define(j)
		}, []string{"a 02-02 1 missed", "a 03-03 1 missed", "a 06-06 1 missed", "a 08-08 1 lost unless it is reported"}, 8},
		{"moved", func(r *rig) {
			r.granted(r.ask("a", "a1", r.settle("a"), 1))
			r.clock.forward(9 * time.Second)
			r.give("a2", "a")
		}, []string{"a 01-01 1 lost unless it is reported"}, 1},
		{"moved back and forth while paused", func(r *rig) {
			pause(r, true)
			r.give("a2", "a")
			r.clock.forward(9 * time.Second)
			r.give("a1", "a")
			pause(r, false)
		}, []string{"a 01-09 9 skipped"}, 9},
		{"removed", func(r *rig) {
			r.clock.forward(3 * time.Second)
			if err := r.DeleteJob(r.ctx(), "a"); err != nil {
				r.t.Fatal(err)
			}
		}, []string{"a 01-03 3 missed"}, -1},
		{"removed while paused, after a claim", func(r *rig) {
			r.granted(r.ask("a", "a1", r.settle("a"), 1))
			r.clock.forward(3 * time.Second)
			pause(r, true)
			r.clock.forward(3 * time.Second)
			if err := r.DeleteJob(r.ctx(), "a"); err != nil {
				r.t.Fatal(err)
			}
		}, []string{"a 01-01 1 lost unless it is reported", "a 02-03 2 missed", "a 04-06 3 skipped"}, -1},
		{"more changes than are kept", func(r *rig) {
			for n := range kept + 5 {
				r.clock.forward(time.Second)
				pause(r, n%2 == 0)
			}
		}, nil, 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, emptied(t))
			r.define(job1("a", "1"))
			r.give("a1", "a")
			tt.story(r)
			if tt.at >= 0 {
				for range 2 {
					r.settle("a")
				}
				if got := r.look("a").claim; !got.At.Equal(second(tt.at)) || got.Run != "" && got.Epoch != r.settle("a") {
					t.Errorf("the cursor is %+v, want it at %d", got, tt.at)
				}
			}
			if tt.want != nil || tt.at == 0 {
				r.wantRecorded(tt.want...)
				return
			}
			ends := map[crony.End]int64{} // each by the definition that was in force
			for _, p := range r.Passes() {
				s, _ := p.Stretch()
				ends[s.End] += s.Count
			}
			if ends[crony.EndMissed] != 13 || ends[crony.EndSkipped] != 12 {
				t.Errorf("recorded of %d: %v", tt.at, ends)
			}
		})
	}
}

// TestUnsettled claims nothing of a new definition before what came before is decided.
func TestUnsettled(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.give("a1", "a")
	r.clock.forward(5 * time.Second)
	if _, err := r.PauseJob(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	epoch := r.newest("a").Epoch
	r.refused(r.ask("a", "a1", epoch, 6), "not decided yet")
	if d := r.pass("a", "a1", epoch, 0, 4); d.Granted {
		t.Error("passed over before it is settled")
	}
	r.settle("a")
	r.granted(r.ask("a", "a1", epoch, 6))
	if _, has, err := r.Settle(t.Context(), "a2", "a"); has || err != nil {
		t.Errorf("another agent has it too: %v", err)
	}
	if _, has, err := r.Settle(t.Context(), "a1", "nothing"); has || err != nil {
		t.Errorf("an agent has what there is not: %v", err)
	}
}

// TestHistoryOfPlans reads all that is kept of how a job came due, and does so again from a store that was opened later.
func TestHistoryOfPlans(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	for n := range kept + 3 {
		r.clock.forward(time.Second)
		r.define(job1("a", fmt.Sprint(n+2)))
	}
	h, err := r.History(t.Context(), "a")
	if err != nil || len(h.Definitions) != kept+1 || h.Waiting == "" || len(h.Holders) != 0 {
		t.Fatalf("%d definitions, %+v, %v", len(h.Definitions), h, err)
	}
	for i := range h.Definitions {
		if want := int64(4 + i); h.Definitions[i].Generation != want || !h.Definitions[i].PlanSince.Equal(noon) {
			t.Errorf("definition %d is %+v", i, h.Definitions[i])
		}
	}
	if _, err := r.History(t.Context(), "nothing"); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("%v", err)
	}
}
