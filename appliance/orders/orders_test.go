package orders

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
)

// rig is a real keyspace and a real run log, of a server that may lack what others know.
type rig struct {
	*Orders
	t     *testing.T
	store *state.Store
	runs  *faultyLog
	log   *logText
	opts  Options
}

// faultyLog is a run log whose other servers may not answer, and that may take nothing.
type faultyLog struct {
	*runlog.Log
	mu      sync.Mutex
	refresh error
	append  error
	late    []crony.Fact // that other servers have
}

func (l *faultyLog) fail(refresh, appending error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh, l.append = refresh, appending
}

func (l *faultyLog) Refresh(ctx context.Context, _ ...crony.RunID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refresh != nil {
		return l.refresh
	}
	return l.Log.Append(ctx, l.late, nil)
}

func (l *faultyLog) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	l.mu.Lock()
	err := l.append
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.Log.Append(ctx, facts, chunks)
}

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	quiet, dir := slog.New(slog.DiscardHandler), t.TempDir()
	m, err := member.Open(t.Context(), member.Options{Dir: filepath.Join(dir, "etcd"), Create: true, Log: quiet,
		Server: pki.Identity{Cluster: "test", Role: pki.Server, ID: "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	runs, err := runlog.Open(runlog.Options{Dir: filepath.Join(dir, "runs"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runs.Close() })
	store, err := state.Open(t.Context(), state.Options{Client: m.Client(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r := &rig{t: t, store: store, runs: &faultyLog{Log: runs}, log: &logText{}}
	r.opts = Options{State: store, Runs: r.runs, Log: slog.New(slog.NewTextHandler(r.log, nil)), Now: time.Now}
	if r.Orders, err = New(r.opts); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{{Name: "m", Labels: map[string]string{"tier": "gold"},
		Shell: &crony.Shell{Command: "true"}}}}, crony.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	r.connect("a1")
	return r
}

func (r *rig) connect(agent string) {
	r.t.Helper()
	if _, err := r.store.RegisterAgent(r.t.Context(), crony.Agent{ID: agent, Name: agent}); err != nil {
		r.t.Fatal(err)
	}
}

// run puts a run of an agent on record, up to a state.
func (r *rig) run(agent string, state crony.RunState) crony.RunID {
	r.t.Helper()
	id := crony.NewRunID(time.Now())
	if err := r.runs.Log.Append(r.t.Context(), factsOf(id, agent, state), nil); err != nil {
		r.t.Fatal(err)
	}
	return id
}

func factsOf(id crony.RunID, agent string, state crony.RunState) []crony.Fact {
	now := time.Now().UTC()
	facts := []crony.Fact{{Run: id, Seq: 1, At: now, Claimed: &crony.ClaimedFact{Job: "m", JobUID: "u", Generation: 1, Group: "default",
		Agent: agent, Trigger: crony.BySchedule, ScheduledAt: now}}}
	if state != crony.Claimed {
		facts = append(facts, crony.Fact{Run: id, Seq: 2, At: now, Started: &crony.StartedFact{Attempt: 1, PID: 7}})
	}
	if state.Ended() {
		reason := "so"
		if state == crony.Killed {
			reason = (&crony.KillOrder{By: "ann"}).Words()
		}
		facts = append(facts, crony.Fact{Run: id, Seq: 3, At: now, Ended: &crony.EndedFact{State: state, Reason: reason}})
	}
	return facts
}

func (r *rig) order(opts crony.StartOptions) crony.RunID {
	r.t.Helper()
	ids, err := r.store.StartJob(crony.WithActor(r.t.Context(), "bob"), "m", opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids[0]
}

// lead has this server lead until the end of the test.
func (r *rig) lead() {
	ctx, cancel := context.WithCancel(context.Background())
	var leading sync.WaitGroup
	leading.Go(func() {
		r.store.Lead(ctx, "s1", func() bool { return true }, func(ctx context.Context, term state.Term) error {
			return Keep(ctx, term, r.opts)
		})
	})
	r.t.Cleanup(func() {
		cancel()
		leading.Wait()
	})
}

func (r *rig) eventually(what string, met func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %s; the log:\n%s", what, r.log)
		}
	}
}

// TestKillRun orders ends of runs in every state, and of what are none.
func TestKillRun(t *testing.T) {
	r := newRig(t)
	eve := crony.WithActor(t.Context(), "eve")
	elsewhere := crony.NewRunID(time.Now())
	r.runs.late = factsOf(elsewhere, "a1", crony.Running)
	given := r.order(crony.StartOptions{Agent: "a1"})
	if _, mine, err := r.store.GiveStart(t.Context(), "a1", "m", given); !mine || err != nil {
		t.Fatal(mine, err)
	}
	for name, c := range map[string]struct {
		id     crony.RunID
		reason string
		code   crony.Code
		says   string
	}{
		"running":                 {r.run("a1", crony.Running), "stuck", "", ""},
		"claimed":                 {r.run("a1", crony.Claimed), "stuck", "", ""},
		"agent away":              {r.run("a7", crony.Running), "", "", ""},
		"ended":                   {r.run("a1", crony.Succeeded), "", crony.Conflict, "the run has ended: succeeded, so"},
		"killed":                  {r.run("a1", crony.Killed), "", crony.Conflict, "the run has ended: killed by ann"},
		"lost":                    {r.run("a1", crony.Lost), "", crony.Conflict, "ended: lost"},
		"lost, and may come back": {r.run("a7", crony.Lost), "", "", ""},
		"known elsewhere":         {elsewhere, "", "", ""},
		"unknown":                 {crony.NewRunID(time.Now()), "", crony.NotFound, "no run"},
		"ordered and given":       {given, "", "", ""},
		"no run's id":             {"../x", "", crony.Invalid, "not a run's id"},
		"too long a reason":       {r.run("a1", crony.Running), strings.Repeat("x", crony.MaxReason+1), crony.Invalid, "reason"},
	} {
		for range 2 {
			if err := r.KillRun(eve, c.id, c.reason); crony.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q %q", name, err, c.code, c.says)
			}
		}
		ordered := false
		for _, p := range r.store.Procs() {
			if p.Run == c.id {
				ordered = p.Kill != nil && p.Kill.By == "eve" && p.Kill.Reason == c.reason && !p.Kill.At.IsZero()
			}
		}
		if ordered != (c.code == "") {
			t.Errorf("%s: ordered: %v", name, ordered)
		}
	}
	if text := r.log.String(); !strings.Contains(text, "by=eve reason=stuck") {
		t.Errorf("the log does not tell of it:\n%s", text)
	}
	r.runs.fail(errors.New("too few answer"), nil)
	if err := r.KillRun(eve, crony.NewRunID(time.Now()), ""); err == nil || crony.CodeOf(err) == crony.NotFound {
		t.Errorf("what may be known elsewhere: %v", err)
	}
	if err := r.KillRun(eve, r.run("a1", crony.Running), ""); err != nil {
		t.Errorf("what is known here: %v", err)
	}
	if err := r.KillRun(eve, r.order(crony.StartOptions{Agent: "a1"}), ""); err != nil {
		t.Errorf("what is an order: %v", err)
	}
}

// TestWithdrawn has a run on record that was ordered and taken back, once its log takes it.
func TestWithdrawn(t *testing.T) {
	r := newRig(t)
	r.runs.fail(nil, crony.Errorf(crony.Unavailable, "the disk is full"))
	id := r.order(crony.StartOptions{Agent: "a1", Request: "r", Params: map[string]string{"day": "monday"}})
	if err := r.KillRun(crony.WithActor(t.Context(), "eve"), id, "not needed"); err != nil {
		t.Fatal(err)
	}
	r.lead()
	r.eventually("the leader to say that it can't be put on record", func() bool { return strings.Contains(r.log.String(), "disk is full") })
	if len(r.store.Unstarted()) != 1 {
		t.Error("the order is gone")
	}
	r.runs.fail(nil, nil)
	var run crony.Run
	r.eventually("the run to be on record", func() (ok bool) {
		var err error
		run, err = r.runs.Run(t.Context(), id)
		return err == nil && len(r.store.Unstarted()) == 0
	})
	if run.State != crony.Skipped || run.Reason != "killed before it started by eve: not needed" || run.By != "bob" || run.Agent != "a1" ||
		run.Trigger != crony.ByHand || run.Params["day"] != "monday" || run.Labels["tier"] != "gold" || run.EndedAt.IsZero() {
		t.Errorf("%+v", run)
	}
	if err := r.KillRun(t.Context(), id, ""); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("once more: %v", err)
	}
	if again := r.order(crony.StartOptions{Agent: "a1", Request: "r", Params: map[string]string{"day": "monday"}}); again != id {
		t.Errorf("the same request starts %s", again)
	}
}

// TestOrderOfOneWhoSpoke ends an order of an agent that was removed and of which word of the run has come: that counts.
func TestOrderOfOneWhoSpoke(t *testing.T) {
	r := newRig(t)
	spoke, silent := r.order(crony.StartOptions{Agent: "a1"}), r.order(crony.StartOptions{Agent: "a1"})
	for _, id := range []crony.RunID{spoke, silent} {
		if _, mine, err := r.store.GiveStart(t.Context(), "a1", "m", id); !mine || err != nil {
			t.Fatal(mine, err)
		}
	}
	r.runs.late = factsOf(spoke, "a1", crony.Succeeded)
	if err := r.store.Bury(t.Context(), crony.Tombstone{ID: "a1", Role: crony.JoinAgent}); err != nil {
		t.Fatal(err)
	}
	r.lead()
	r.eventually("the orders to be ended", func() bool { return len(r.store.Unstarted()) == 0 })
	for id, want := range map[crony.RunID]crony.RunState{spoke: crony.Succeeded, silent: crony.Lost} {
		if run, err := r.runs.Run(t.Context(), id); err != nil || run.State != want {
			t.Errorf("%+v, %v, want %s", run, err, want)
		}
	}
}

// TestSweep removes what is left of runs that have ended, and nothing of the others.
func TestSweep(t *testing.T) {
	r := newRig(t)
	order := func(id crony.RunID, agent string, age time.Duration) crony.RunID {
		t.Helper()
		if err := r.store.OrderKill(t.Context(), agent, "m", id, crony.KillOrder{By: "eve", At: time.Now().Add(-age)}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	stay := map[crony.RunID]bool{
		order(r.run("a1", crony.Running), "a1", 30*24*time.Hour): true,
		order(r.run("a1", crony.Lost), "a1", time.Hour):          true,
		order(crony.NewRunID(time.Now()), "a1", 30*time.Minute):  true,
		order(r.run("a1", crony.Killed), "a1", 0):                false,
		order(r.run("a1", crony.Lost), "a1", 8*24*time.Hour):     false,
		order(crony.NewRunID(time.Now()), "a1", 2*time.Hour):     false,
		order(r.run("a9", crony.Lost), "a9", 0):                  false,
	}
	if err := r.store.Bury(t.Context(), crony.Tombstone{ID: "a9", Role: crony.JoinAgent}); err != nil {
		t.Fatal(err)
	}
	r.lead()
	r.eventually("the rest to go", func() bool { return len(r.store.Procs()) <= 3 })
	for _, p := range r.store.Procs() {
		if !stay[p.Run] {
			t.Errorf("%+v stays", p)
		}
	}
}
