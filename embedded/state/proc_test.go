package state

import (
	"fmt"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

func runsOf(n int) (list []crony.RunID) {
	for i := range n {
		list = append(list, crony.OccurrenceRunID("u", noon, fmt.Sprint(i)))
	}
	return list
}

// TestOrderKill: the first order counts, wherever it is given, and is there until the run has ended, whatever becomes of the
// agent's stream.
func TestOrderKill(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	run := runsOf(1)[0]
	p, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutProcs(t.Context(), p, []Proc{{Agent: "a1", Job: "a", Run: run, PID: 7, StartedAt: noon}}); err != nil {
		t.Fatal(err)
	}
	second := []Proc{{Agent: "a1", Job: "a", Run: runsOf(2)[1], PID: 9, StartedAt: noon}}
	if err := r.PutProcs(t.Context(), p, second); err != nil {
		t.Fatal(err)
	}
	if err := r.RestProcs(t.Context(), "a1", []crony.RunID{second[0].Run, "other"}); err != nil || len(r.keys(procs)) != 1 {
		t.Errorf("one waits, and known are %v: %v", r.keys(procs), err)
	}
	feed := other.Changes("a1")
	defer feed.Close()
	feed.Take()
	order := crony.KillOrder{By: "eve", At: noon, Reason: "stuck"}
	if err := r.OrderKill(t.Context(), "a1", "a", run, order); err != nil {
		t.Fatal(err)
	}
	if c, err := feed.Next(t.Context()); err != nil || !slices.Equal(c.Told, []crony.RunID{run}) {
		t.Errorf("told: %+v, %v", c, err)
	}
	if err := other.OrderKill(t.Context(), "a1", "a", run, crony.KillOrder{By: "mallory", At: noon.Add(hour)}); err != nil {
		t.Error(err)
	}
	if err := r.PutProcs(t.Context(), p, []Proc{{Agent: "a1", Job: "a", Run: run, PID: 8, StartedAt: noon}}); err != nil {
		t.Error(err)
	}
	if err := r.RestProcs(t.Context(), "a1", []crony.RunID{run}); err != nil { // it is to be ended, though it waits
		t.Error(err)
	}
	p.Leave(t.Context())
	if err := r.LeaveProcs(t.Context(), p, "a1"); err != nil {
		t.Error(err)
	}
	for _, s := range []*rig{r, other, newRig(t, client)} {
		if err := s.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, ok := s.Kill("a1", run)
		if !ok || got != order || !slices.Equal(s.Told("a1"), []crony.RunID{run}) || len(s.Told("a2")) > 0 {
			t.Errorf("the order is %+v, %v", got, ok)
		}
		if list := s.Procs(); len(list) != 1 || list[0].PID != 8 || !list[0].StartedAt.Equal(noon) || list[0].lease != 0 {
			t.Errorf("processes: %+v", list)
		}
	}
	if err := other.DropProcs(t.Context(), "a1", []crony.RunID{run}); err != nil || len(r.keys(procs)) > 0 {
		t.Errorf("left are %v: %v", r.keys(procs), err)
	}
}

// TestKillByHand reads what people write with etcd's own tools.
func TestKillByHand(t *testing.T) {
	r := newRig(t, emptied(t))
	for value, want := range map[string]crony.KillOrder{
		`{"kill":{"by":"eve","reason":"stuck","at":"2026-11-21T12:00:00Z"}}`:                        {By: "eve", Reason: "stuck", At: noon},
		`{"v":1,"body":{"pid":7,"kill":{"by":"eve","reason":"stuck","at":"2026-11-21T12:00:00Z"}}}`: {By: "eve", Reason: "stuck", At: noon},
		`{"kill": true}`:            {At: noon},
		`{"kill":{"reason":"why"}}`: {Reason: "why", At: noon},
	} {
		run := runsOf(1)[0]
		r.put(procs+"a1/a/"+string(run), value)
		r.wait("the order", func() bool { _, ok := r.Kill("a1", run); return ok })
		if got, _ := r.Kill("a1", run); got != want {
			t.Errorf("%s is %+v, want %+v", value, got, want)
		}
		if _, err := r.client.Delete(t.Context(), procs, clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		r.wait("the order to be gone", func() bool { _, ok := r.Kill("a1", run); return !ok })
	}
}

// TestManyProcs tells of thousands of processes in few transactions, once, and they go with their agent.
func TestManyProcs(t *testing.T) {
	r := newRig(t, emptied(t))
	p, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	var list []Proc
	for i, run := range runsOf(3000) {
		list = append(list, Proc{Agent: "a1", Job: "a", Run: run, PID: i + 1, StartedAt: noon})
	}
	for n, most := range []int64{3000/maxPlace + 1, 0} { // the second time there is nothing new
		before := r.tap.asked.Load()
		if err := r.PutProcs(t.Context(), p, list); err != nil {
			t.Fatal(err)
		}
		if asked := r.tap.asked.Load() - before; asked > most || len(r.Procs()) != 3000 {
			t.Errorf("%d: %d transactions, %d processes", n, asked, len(r.Procs()))
		}
	}
	if err := r.OrderKill(t.Context(), "a1", "a", list[5].Run, crony.KillOrder{By: "eve", At: noon}); err != nil {
		t.Fatal(err)
	}
	p.Leave(t.Context())
	if err := r.LeaveProcs(t.Context(), p, "a1"); err != nil {
		t.Fatal(err)
	}
	if left := r.keys(procs); len(left) != 1 {
		t.Errorf("%d are left", len(left))
	}
	again, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutProcs(t.Context(), again, list[:10]); err != nil {
		t.Fatal(err)
	}
	if _, ordered := r.Kill("a1", list[5].Run); !ordered || len(r.Procs()) != 10 {
		t.Errorf("%d processes, the order is there: %v", len(r.Procs()), ordered)
	}
}

// TestAnswerRun: the first answer to an attempt counts, wherever it is given, beside an order to end the run, and is there until
// the run has ended, whatever becomes of the agent's stream.
func TestAnswerRun(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	run := runsOf(1)[0]
	p, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutProcs(t.Context(), p, []Proc{{Agent: "a1", Job: "a", Run: run, StartedAt: noon}}); err != nil {
		t.Fatal(err)
	}
	feed := other.Changes("a1")
	defer feed.Close()
	feed.Take()
	first := crony.Answer{Attempt: 2, State: crony.Failed, Reason: "no", At: noon}
	answer := func(s *rig, a crony.Answer) {
		t.Helper()
		if err := s.AnswerRun(t.Context(), "a1", "a", run, a); err != nil {
			t.Fatal(err)
		}
	}
	answer(r, first)
	if c, err := feed.Next(t.Context()); err != nil || !slices.Equal(c.Told, []crony.RunID{run}) {
		t.Errorf("told: %+v, %v", c, err)
	}
	answer(other, crony.Answer{Attempt: 2, State: crony.Succeeded, At: noon})
	answer(other, crony.Answer{Attempt: 1, State: crony.Succeeded, At: noon})
	if err := other.OrderKill(t.Context(), "a1", "a", run, crony.KillOrder{By: "eve", At: noon}); err != nil {
		t.Fatal(err)
	}
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.PutProcs(t.Context(), p, []Proc{{Agent: "a1", Job: "a", Run: run, PID: 8, StartedAt: noon}}); err != nil {
		t.Error(err)
	}
	p.Leave(t.Context())
	if err := r.LeaveProcs(t.Context(), p, "a1"); err != nil {
		t.Error(err)
	}
	for _, s := range []*rig{r, other, newRig(t, client)} {
		if err := s.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, killed := s.Kill("a1", run)
		if got, ok := s.Answer("a1", run); !ok || got != first || !killed || !slices.Equal(s.Told("a1"), []crony.RunID{run}) {
			t.Errorf("the answer is %+v, %v; killed: %v", got, ok, killed)
		}
	}
	answer(other, crony.Answer{Attempt: 3, State: crony.Succeeded, At: noon})
	if got, _ := other.Answer("a1", run); got.Attempt != 3 {
		t.Errorf("the answer to the next attempt is %+v", got)
	}
	if err := other.DropProcs(t.Context(), "a1", []crony.RunID{run}); err != nil || len(r.keys(procs)) > 0 {
		t.Errorf("left are %v: %v", r.keys(procs), err)
	}
}
