package placement

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/fakeetcd"
	"crony/embedded/state"
)

// world is a fleet on a store in memory, in a bubble of time.
type world struct {
	t       *testing.T
	etcd    *fakeetcd.Etcd
	leads   *state.Store // of the leader, s1
	other   *state.Store // of another server, s2
	place   *Placement
	figures *prometheus.Registry
	log     *bytes.Buffer
	here    map[string]*state.Presence
	ups     map[string]*state.Presence
	mu      sync.Mutex
	runs    map[string][]crony.Run
	resign  context.CancelFunc
	done    sync.WaitGroup
}

// inWorld runs a test in a bubble, with two servers up and the first of them leading.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, etcd: fakeetcd.New(), log: &bytes.Buffer{}, here: map[string]*state.Presence{}, ups: map[string]*state.Presence{},
			runs: map[string][]crony.Run{}, figures: prometheus.NewRegistry()}
		w.leads, w.other = w.open(), w.open()
		w.up("s1", w.leads)
		w.up("s2", w.other)
		var err error
		w.place, err = New(Options{Server: "s1", Store: w.leads, Registerer: w.figures, Unfinished: w.unfinished,
			Log: slog.New(slog.NewTextHandler(w.log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		w.lead()
		test(w)
		w.resign()
		w.done.Wait()
		w.leads.Close()
		w.other.Close()
	})
}

func (w *world) open() *state.Store {
	w.t.Helper()
	s, err := state.Open(w.t.Context(), state.Options{Client: w.etcd.Client(w.t.Context()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) up(server string, s *state.Store) {
	w.t.Helper()
	p, err := s.RegisterServer(w.t.Context(), state.Server{ID: server, Name: server})
	if err != nil {
		w.t.Fatal(err)
	}
	w.ups[server] = p
}

// lead has s1 begin a term, and ends the one before.
func (w *world) lead() {
	if w.resign != nil {
		w.resign()
		w.done.Wait()
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.resign = cancel
	w.done.Go(func() {
		if err := w.leads.Lead(ctx, "s1", func() bool { return true }, w.place.Run); err != nil {
			w.t.Error(err)
		}
	})
	w.pass(0)
}

// connect has agents connect to a server; each is written as in [fleet].
func (w *world) connect(server string, texts ...string) {
	w.t.Helper()
	s := map[string]*state.Store{"s1": w.leads, "s2": w.other}[server]
	for _, a := range fleet(texts...) {
		a.Server = server
		p, err := s.RegisterAgent(w.t.Context(), a.Agent)
		if err != nil {
			w.t.Fatal(err)
		}
		w.here[a.ID] = p
	}
	w.pass(0)
}

// leave ends an agent's connection.
func (w *world) leave(agent string) {
	w.here[agent].Leave(w.t.Context())
	w.pass(0)
}

// pass has some time pass, and a moment more.
func (w *world) pass(d time.Duration) {
	time.Sleep(d + 300*time.Millisecond)
	synctest.Wait()
}

func (w *world) define(jobs ...crony.Job) {
	w.t.Helper()
	for i := range jobs {
		if jobs[i].HTTP == nil {
			jobs[i].Shell = &crony.Shell{Command: "true"}
		}
	}
	if _, err := w.other.Define(w.t.Context(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.pass(0)
}

func (w *world) change(agent string, c crony.AgentChange) {
	w.t.Helper()
	if _, err := w.other.ChangeAgent(w.t.Context(), agent, c); err != nil {
		w.t.Fatal(err)
	}
	w.pass(0)
}

// figure returns the sum of a metric.
func (w *world) figure(name string) (sum float64) {
	w.t.Helper()
	families, err := w.figures.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// unfinished is the run log's.
func (w *world) unfinished(agent string) []crony.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[agent]
}

func (w *world) running(agent string, jobs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[agent] = nil
	for _, j := range jobs {
		w.runs[agent] = append(w.runs[agent], crony.Run{Job: j})
	}
}

// want checks who has what: "a1: x y; a2: z".
func (w *world) want(when, want string) {
	w.t.Helper()
	has := map[string][]string{}
	p := w.other.Places(state.Scope{All: true})
	for i := range p.Jobs {
		for _, a := range p.Jobs[i].Assignments {
			has[a.Agent] = append(has[a.Agent], a.Job)
		}
	}
	var parts []string
	for _, agent := range slices.Sorted(maps.Keys(has)) {
		parts = append(parts, agent+": "+strings.Join(has[agent], " "))
	}
	if got := strings.Join(parts, "; "); got != want {
		w.t.Errorf("%s: %s; want %s\n%s", when, got, want, w.log)
	}
}

func named3() (x, y, stays crony.Job) {
	no := false
	return crony.Job{Name: "x"}, crony.Job{Name: "y"}, job("stays", crony.Placement{Failover: &no})
}

// TestGrace: nothing moves while an agent may come back; then what may move does, and stays where it is from then on.
func TestGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, stays := named3()
		w.connect("s1", "a1")
		w.define(x, y, stays)
		w.connect("s1", "a2")
		w.want("at first", "a1: stays x y")
		w.leave("a1")
		w.pass(2 * time.Second)
		w.want("in the grace", "a1: stays x y")
		w.connect("s2", "a1")
		w.pass(time.Minute)
		w.want("when it is back", "a1: stays x y")
		w.leave("a1")
		w.pass(3 * time.Second)
		w.want("after the grace", "a1: stays; a2: x y")
		if moved, stuck := w.figure("crony_jobs_moved_total"), w.figure("crony_jobs_stuck"); moved != 2 || stuck != 1 {
			t.Errorf("%v moved, %v stuck", moved, stuck)
		}
		if log := w.log.String(); !strings.Contains(log, `jobs="x y"`) || !strings.Contains(log, "stuck_jobs=stays") {
			t.Errorf("the log says\n%s", log)
		}
		w.connect("s1", "a1")
		w.pass(time.Minute)
		w.want("when it is back too late", "a1: stays; a2: x y")
		if stuck := w.figure("crony_jobs_stuck"); stuck != 0 {
			t.Errorf("%v are stuck when it is back", stuck)
		}
	})
}

// TestServerDies: agents that went with their server's lease are down at once; those of one that was stopped are waited for.
func TestServerDies(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, _ := named3()
		w.connect("s2", "a1")
		w.define(x, y)
		w.connect("s1", "a2")
		w.ups["s2"].Leave(w.t.Context())
		w.pass(0)
		w.leave("a1")
		w.pass(9 * time.Second)
		w.want("its server was stopped, a while ago", "a1: x y")
		w.pass(time.Second)
		w.want("its server was stopped, ten seconds ago", "a2: x y")
	})
	inWorld(t, func(w *world) {
		x, y, _ := named3()
		w.connect("s2", "a1")
		w.define(x, y)
		w.connect("s1", "a2")
		w.other.Close() // revokes its lease, and all that was on it
		w.pass(0)
		w.other = w.open()
		w.want("its server has died", "a2: x y")
	})
}

// TestTermBegins: those who are missed at the start of a term have ten seconds; what has changed before it is seen to.
func TestTermBegins(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, _ := named3()
		batch := job("batch", crony.Placement{Selector: "role=batch"})
		w.connect("s1", "a1 role=batch")
		w.define(x, y, batch)
		w.connect("s1", "a2 role=batch")
		w.want("at first", "a1: batch x y")
		w.resign()
		w.done.Wait()
		role := "web"
		w.change("a1", crony.AgentChange{Labels: map[string]*string{"role": &role}})
		w.leave("a1")
		w.pass(time.Minute)
		w.want("without a leader", "a1: batch x y")
		w.lead()
		w.pass(9 * time.Second)
		w.want("in the term's first seconds", "a1: batch x y")
		w.pass(time.Second)
		w.want("then", "a2: batch x y")
	})
}

// TestDrain: a job goes when its runs have ended; an agent that is relabelled gives up what it is not meant for.
func TestDrain(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, stays := named3()
		w.connect("s1", "a1 role=batch")
		w.define(x, y, stays, job("batch", crony.Placement{Selector: "role=batch"}), job("wide", crony.Placement{Mode: crony.PlaceEach}))
		w.connect("s1", "a2")
		w.want("at first", "a1: batch stays wide x y; a2: wide")
		w.running("a1", "x")
		w.change("a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true}})
		w.want("drained", "a1: batch stays wide x; a2: wide y")
		w.pass(time.Minute)
		w.want("while it runs", "a1: batch stays wide x; a2: wide y")
		w.running("a1")
		w.pass(time.Second)
		w.want("when it has run", "a1: batch stays wide; a2: wide x y")
		if stuck := w.figure("crony_jobs_stuck"); stuck != 3 {
			t.Errorf("%v are stuck", stuck)
		}
		role, none := "batch", ""
		w.change("a2", crony.AgentChange{Labels: map[string]*string{"role": &role}})
		w.want("when another is meant", "a1: stays wide; a2: batch wide x y")
		w.change("a1", crony.AgentChange{Cordon: &crony.CordonChange{}})
		w.want("uncordoned", "a1: stays wide; a2: batch wide x y")
		w.change("a2", crony.AgentChange{Labels: map[string]*string{"role": &none}})
		w.want("when the other is not meant any more", "a1: batch stays wide; a2: wide x y")
	})
}

// TestAtOnce: a job that is defined right after an agent has come, or was cordoned, is placed by how the agents are then.
func TestAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.connect("s1", "a1")
		for _, a := range fleet("a2", "a3") {
			if _, err := w.leads.RegisterAgent(w.t.Context(), a.Agent); err != nil {
				t.Fatal(err)
			}
		}
		x, y, stays := named3()
		w.define(x, y, stays)
		w.want("when two have just come", "a1: stays; a2: x; a3: y")
		if _, err := w.leads.ChangeAgent(w.t.Context(), "a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true}}); err != nil {
			t.Fatal(err)
		}
		w.define(job("z", crony.Placement{Exclude: []string{"a2"}}))
		w.want("when one was just cordoned", "a1: stays; a2: x; a3: y z")
	})
}

// TestRoom: what no agent has room for is given to one as soon as one has, or another comes.
func TestRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, stays := named3()
		w.connect("s1", "a1 max2")
		w.define(x, y)
		w.want("at first", "a1: x y")
		w.define(stays)
		w.want("when it is full", "a1: x y")
		w.pass(time.Minute)
		w.want("and stays so", "a1: x y")
		w.delete("x")
		w.pass(2 * time.Second)
		w.want("when there is room", "a1: stays y")
		w.define(x)
		w.want("full again", "a1: stays y")
		three := 3
		w.change("a1", crony.AgentChange{MaxJobs: &three})
		w.want("when it may have more", "a1: stays x y")
		w.define(job("z", crony.Placement{}), job("pinned", crony.Placement{Agent: "a1"}))
		w.want("what is pinned comes", "a1: pinned stays x y")
		w.connect("s1", "a2")
		w.want("when another comes", "a1: pinned stays x y; a2: z")
	})
}

// delete removes a job.
func (w *world) delete(name string) {
	w.t.Helper()
	if err := w.other.DeleteJob(w.t.Context(), name); err != nil {
		w.t.Fatal(err)
	}
}

// TestClaimed: a run that was only just claimed holds no job of one agent back, and all others do; of a job that comes due each
// second there is always one.
func TestClaimed(t *testing.T) {
	inWorld(t, func(w *world) {
		x, y, _ := named3()
		w.connect("s1", "a1")
		w.define(x, y, job("race", crony.Placement{Mode: crony.PlaceRace}))
		w.connect("s1", "a2")
		claimed := func(job string, late time.Duration, trigger crony.Trigger) crony.Run {
			return crony.Run{Job: job, State: crony.Claimed, Trigger: trigger, ScheduledAt: time.Now().Add(-late)}
		}
		set := func(runs ...crony.Run) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.runs["a1"] = runs
		}
		set(claimed("x", time.Minute, crony.BySchedule), claimed("y", 0, crony.ByHand), claimed("race", 0, crony.BySchedule))
		w.change("a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true}})
		w.want("while runs of them go on", "a1: race x y; a2: race")
		set(claimed("x", time.Second, crony.BySchedule), claimed("y", 0, crony.BySchedule))
		w.pass(time.Second)
		w.want("when they have only been claimed", "a2: race x y")
	})
}

// TestRebalanceRequest: people ask any server, and hear how it ended; a request that nobody takes up is withdrawn.
func TestRebalanceRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		var jobs []crony.Job
		for n := range 8 {
			jobs = append(jobs, crony.Job{Name: fmt.Sprint("j", n)})
		}
		w.connect("s1", "a1")
		w.define(jobs...)
		w.connect("s2", "a2")
		w.running("a1", "j7")
		done, err := w.other.RebalanceAgents(w.t.Context())
		if err != nil || done != (crony.Rebalanced{Moved: 4, Busy: 1}) {
			t.Errorf("%+v, %v", done, err)
		}
		w.want("rebalanced", "a1: j0 j1 j2 j7; a2: j3 j4 j5 j6")
		if done, err := w.leads.RebalanceAgents(w.t.Context()); err != nil || done.Moved != 0 {
			t.Errorf("again: %+v, %v", done, err)
		}
		w.resign()
		w.done.Wait()
		w.connect("s2", "a3")
		if _, err := w.other.RebalanceAgents(w.t.Context()); crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("without a leader: %v", err)
		}
		w.lead()
		w.pass(time.Minute)
		w.want("a leader that came too late", "a1: j0 j1 j2 j7; a2: j3 j4 j5 j6")
	})
}
