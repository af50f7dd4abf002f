//go:build linux

package agent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/agent/callback"
	"crony/internal/wire"
)

// callee is a service that answers as its test says, and remembers what it was told.
type callee struct {
	*httptest.Server

	mu    sync.Mutex
	calls []http.Header
}

func newCallee(t *testing.T, answer http.HandlerFunc) *callee {
	t.Helper()
	c := &callee{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.calls = append(c.calls, r.Header)
		c.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *callee) told() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// calls makes a job a call of the callee's.
func (c *callee) http(change ...func(*crony.Job)) func(*crony.Job) {
	return func(j *crony.Job) {
		j.Shell, j.HTTP = nil, &crony.HTTP{URL: c.URL}
		for _, f := range change {
			f(j)
		}
	}
}

func async(j *crony.Job) { j.HTTP.Async = true }

func accept(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }

func newCallRig(t *testing.T, dir string) *rig {
	t.Helper()
	r := newRig(t, dir)
	r.runner.urls = func() []string { return []string{"https://s1"} }
	return r
}

func (r *rig) inState(id crony.RunID, state crony.RunState) crony.Run {
	r.t.Helper()
	eventually(r.t, "the run to be "+string(state), func() bool { return r.desk.run(id).State == state })
	return r.desk.run(id)
}

func (r *rig) facts(id crony.RunID) string {
	r.desk.mu.Lock()
	defer r.desk.mu.Unlock()
	var kinds []string
	for _, f := range r.desk.facts[id] {
		switch {
		case f.Claimed != nil:
			kinds = append(kinds, "claimed")
		case f.Started != nil:
			kinds = append(kinds, "started")
		case f.Waiting != nil:
			kinds = append(kinds, "waiting")
		case f.Exited != nil:
			kinds = append(kinds, "exited")
		case f.Ended != nil:
			kinds = append(kinds, "ended")
		}
	}
	return strings.Join(kinds, " ")
}

func TestCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newCallRig(t, dir).begin()
	c := newCallee(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, "answer")
	})
	id := r.start(c.http())
	run := r.ended(id)
	if a := run.Attempts; run.State != crony.Succeeded || len(a) != 1 || a[0].Status != "HTTP 200" || a[0].PID != 0 || a[0].StdoutBytes != 6 ||
		run.Callback != "" || r.facts(id) != "claimed started exited ended" {
		t.Errorf("%+v: %s", run, r.facts(id))
	}
	if out, err := r.desk.text(t, id, crony.Stdout), r.desk.text(t, id, crony.Stderr); out != "answer" || !strings.Contains(err, "HTTP 200; ") {
		t.Errorf("%q, %q", out, err)
	}
	told := c.told()[0]
	if told.Get("Crony-Run-Id") != string(id) || told.Get("Crony-Job") != "job" || told.Get("Crony-Attempt") != "1" || told.Get("Crony-Epoch") != "7" ||
		told.Get("Crony-Scheduled-At") == "" {
		t.Errorf("%v", told)
	}
	for name, w := range map[string]struct {
		job    func(*crony.Job)
		state  crony.RunState
		status string
		reason string
	}{
		"bad status":     {c.http(func(j *crony.Job) { j.HTTP.URL += "/bad" }), crony.Failed, "HTTP 503", "HTTP 503 Service Unavailable"},
		"no parameter":   {c.http(func(j *crony.Job) { j.HTTP.URL += "/{{.Params.day}}" }), crony.Failed, "", `the template of its url: line 1: `},
		"nobody there":   {c.http(func(j *crony.Job) { j.HTTP.URL = "http://127.0.0.1:1" }), crony.Failed, "", "connection refused"},
		"link-local":     {c.http(func(j *crony.Job) { j.HTTP.URL = "http://169.254.169.254/" }), crony.Failed, "", "a link-local address"},
		"done at once":   {c.http(async), crony.Succeeded, "HTTP 200", ""},
		"nobody, gRPC":   {func(j *crony.Job) { j.Shell, j.GRPC = nil, &crony.GRPC{Target: "127.0.0.1:1", Method: "a.B/C"} }, crony.Failed, "UNAVAILABLE", "UNAVAILABLE: "},
		"a file that is": {c.http(func(j *crony.Job) { j.HTTP.TLS = &crony.TLS{CAFile: "/none"} }), crony.Failed, "", "read whom to trust"},
	} {
		got := r.ended(r.start(w.job))
		status := ""
		if len(got.Attempts) > 0 {
			status = got.Attempts[0].Status
		}
		if got.State != w.state || status != w.status || !strings.Contains(got.Reason, w.reason) {
			t.Errorf("%s: %s, %s, %q, want %s, %s, %q", name, got.State, status, got.Reason, w.state, w.status, w.reason)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, outputDir)); err != nil || len(left) > 0 || r.journal.count() > 0 {
		t.Errorf("left behind: %v, %v, %d runs", left, err, r.journal.count())
	}
}

func TestCallIsEnded(t *testing.T) {
	t.Parallel()
	r := newCallRig(t, t.TempDir()).begin()
	over := make(chan struct{})
	c := newCallee(t, func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-over:
		case <-req.Context().Done(): // the agent has hung up
		}
	})
	defer close(over)
	slow := r.start(c.http(func(j *crony.Job) { j.Timeout = crony.Duration(300 * time.Millisecond) }))
	if got := r.ended(slow); got.State != crony.TimedOut || got.Reason != "it ran longer than its timeout of 300ms" {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	killed := r.start(c.http())
	eventually(t, "the call", func() bool { return len(c.told()) == 2 && r.runner.count() == 1 })
	if !r.runner.kill(killed, crony.KillOrder{By: "eve", Reason: "stuck"}) {
		t.Error("it does not go on")
	}
	if got := r.ended(killed); got.State != crony.Killed || got.Reason != "killed by eve: stuck" {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	early := r.start(c.http(async))
	eventually(t, "the call", func() bool { return len(c.told()) == 3 && r.runner.count() == 1 })
	if r.runner.answered(early, 2, crony.EndedFact{State: crony.Failed}) {
		t.Error("an answer to another attempt counts")
	}
	if !r.runner.answered(early, 1, crony.EndedFact{State: crony.Succeeded, Reason: "well"}) {
		t.Error("an answer that comes before the call was accepted is not heard")
	}
	if got := r.ended(early); got.State != crony.Succeeded || got.Reason != "well" || got.Attempts[0].Status != "answered" {
		t.Errorf("%+v", got)
	}
	stopped := r.start(c.http())
	eventually(t, "the call", func() bool { return len(c.told()) == 4 && r.runner.count() == 1 })
	r.runner.drain(0)
	if got := r.ended(stopped); got.State != crony.Lost || got.Reason != stoppedCall {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
}

// TestAwaits has a call be accepted, and answered, in each way in which that can go; and looks for its token everywhere.
func TestAwaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newCallRig(t, dir)
	said := &logText{}
	r.runner.log, r.reports.log = said.logger(), said.logger()
	r.begin()
	c := newCallee(t, func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		req.Header.Write(w)
	})
	id := r.start(c.http(async))
	run := r.inState(id, crony.Waiting)
	token := c.told()[0].Get("Crony-Token")
	if run.Callback != callback.HashToken(token) || len(token) != 43 || run.Until.Sub(run.StartedAt) != 24*time.Hour ||
		run.Reason != "accepted by "+strings.TrimPrefix(c.URL, "http://")+"; its answer is awaited" {
		t.Errorf("%+v", run)
	}
	if got := c.told()[0]; got.Get("Crony-Servers") != "https://s1" || got.Get("Crony-Timeout") != "86400" ||
		got.Get("Crony-Deadline") != run.Until.Format(time.RFC3339) {
		t.Errorf("%v", got)
	}
	if r.runner.count() != 0 || len(r.runner.awaited) != 1 || first(r.journal.holders("job", 1)) != id {
		t.Errorf("%d go on, %d are awaited", r.runner.count(), len(r.runner.awaited))
	}
	for name, attempt := range map[crony.RunID]int{id: 2, runAt(1): 1} {
		if r.runner.answered(name, attempt, crony.EndedFact{State: crony.Succeeded}) {
			t.Errorf("an answer to attempt %d of %s counts", attempt, name)
		}
	}
	if !r.runner.answered(id, 1, crony.EndedFact{State: crony.Failed, Reason: "no stock"}) {
		t.Error("the answer does not count")
	}
	if got := r.ended(id); got.State != crony.Failed || got.Reason != "no stock" || got.Attempts[0].Status != "answered" || got.Attempts[0].StdoutBytes != 0 ||
		r.facts(id) != "claimed started waiting exited ended" {
		t.Errorf("%+v: %s", got, r.facts(id))
	}
	if r.runner.answered(id, 1, crony.EndedFact{State: crony.Succeeded}) {
		t.Error("a second answer counts")
	}

	late := r.start(c.http(async, func(j *crony.Job) { j.Timeout = crony.Duration(time.Second) }))
	if got := r.ended(late); got.State != crony.TimedOut || got.Reason != unanswered {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	killed := r.start(c.http(async))
	r.inState(killed, crony.Waiting)
	r.runner.kill(killed, crony.KillOrder{By: "eve"})
	if got := r.ended(killed); got.State != crony.Killed || got.Reason != "killed by eve" || len(r.runner.awaited) > 0 {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	nowhere := newRig(t, t.TempDir()).begin()
	if got := nowhere.ended(nowhere.start(c.http(async))); got.State != crony.Failed || !strings.Contains(got.Reason, "no server has told its agent") {
		t.Errorf("%s, %s", got.State, got.Reason)
	}

	for _, h := range c.told() {
		token := []byte(h.Get("Crony-Token"))
		if strings.Contains(said.String(), string(token)) || strings.Contains(r.desk.text(t, id, crony.Stdout), string(token)) {
			t.Error("a token is in the log or in the output")
		}
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
			if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, token) {
				t.Errorf("a token is in %s", path)
			}
			return nil
		})
	}
}

// TestAwaitsOverLives stops the agent, and kills it, while runs wait: they wait on, and end in the next life.
func TestAwaitsOverLives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	over := make(chan struct{})
	c := newCallee(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			io.Copy(io.Discard, req.Body)
			select {
			case <-over:
			case <-req.Context().Done():
			}
		}
		accept(w, req)
	})
	defer close(over)
	r := newCallRig(t, dir).begin()
	waits := r.start(c.http(async))
	r.inState(waits, crony.Waiting)
	slow := r.start(c.http(async, func(j *crony.Job) { j.HTTP.URL += "/slow" }))
	eventually(t, "the call", func() bool { return len(c.told()) == 2 && r.runner.count() == 1 })
	r.stop()
	for _, rec := range r.journal.records() {
		if w := rec.last().Waiting; w == nil || rec.last().Run == slow && w.Reason != maybeTaken {
			t.Errorf("left in the journal: %+v", rec.last())
		}
	}

	r = newCallRig(t, dir)
	if claims := r.runner.recover(); len(claims) > 0 {
		t.Errorf("claims: %v", claims)
	}
	r.begin()
	if got := r.inState(waits, crony.Waiting); got.Callback == "" || len(r.runner.awaited) != 2 {
		t.Errorf("%+v", got)
	}
	if got := r.inState(slow, crony.Waiting); got.Reason != maybeTaken {
		t.Errorf("%s", got.Reason)
	}
	for _, id := range []crony.RunID{waits, slow} {
		if !r.runner.answered(id, 1, crony.EndedFact{State: crony.Succeeded}) {
			t.Error("its answer does not count")
		}
		if got := r.ended(id); got.State != crony.Succeeded || r.facts(id) != "claimed started waiting exited ended" {
			t.Errorf("%+v: %s", got, r.facts(id))
		}
	}
	if len(c.told()) != 2 {
		t.Errorf("%d calls", len(c.told()))
	}
}

// TestRecoverCalls takes up what an agent has left that was killed at each point of a call.
func TestRecoverCalls(t *testing.T) {
	t.Parallel()
	id := crony.NewRunID(noon)
	hash := strings.Repeat("f", 64)
	fact := func(f crony.Fact) entry {
		f.Run = id
		if f.At.IsZero() {
			f.At = time.Now()
		}
		return entry{Fact: &f}
	}
	started := fact(crony.Fact{Started: &crony.StartedFact{Attempt: 1}})
	asked := fact(crony.Fact{Started: &crony.StartedFact{Attempt: 1, Callback: hash}})
	before := fact(crony.Fact{At: noon, Started: &crony.StartedFact{Attempt: 1, Callback: hash}})
	accepted := fact(crony.Fact{Waiting: &crony.WaitingFact{Attempt: 1, Until: time.Now().Add(time.Hour), Reason: "r"}})
	over := fact(crony.Fact{Waiting: &crony.WaitingFact{Attempt: 1, Until: time.Now().Add(-time.Hour), Reason: "r"}})
	exited := fact(crony.Fact{Exited: &crony.ExitedFact{Attempt: 1, Status: "HTTP 200"}})
	ended := fact(crony.Fact{Ended: &crony.EndedFact{State: crony.Succeeded}})
	order := entry{Kill: &kill{id, crony.KillOrder{By: "eve"}}}
	for name, c := range map[string]struct {
		entries []entry
		state   crony.RunState
		reason  string
	}{
		"during the call":            {[]entry{started}, crony.Lost, lostCall},
		"and is to end":              {[]entry{started, order}, crony.Killed, "killed by eve"},
		"after it":                   {[]entry{started, exited}, crony.Lost, lostAnswer},
		"after it, and is to end":    {[]entry{started, exited, order}, crony.Killed, "killed by eve"},
		"at its end":                 {[]entry{started, exited, ended}, crony.Succeeded, ""},
		"during an async call":       {[]entry{asked}, crony.Waiting, maybeTaken},
		"long ago":                   {[]entry{before}, crony.TimedOut, unanswered},
		"an async call is to end":    {[]entry{asked, order}, crony.Killed, "killed by eve"},
		"while it waits":             {[]entry{asked, accepted}, crony.Waiting, "r"},
		"while it waits, and to end": {[]entry{asked, accepted, order}, crony.Killed, "killed by eve"},
		"and its time is over":       {[]entry{asked, over}, crony.TimedOut, unanswered},
		"between the two last facts": {[]entry{asked, accepted, exited}, crony.Waiting, "r"},
		"done at once":               {[]entry{asked, exited}, crony.Lost, lostAnswer},
		"when it was answered":       {[]entry{asked, accepted, exited, ended}, crony.Succeeded, ""},
	} {
		dir := t.TempDir()
		leave(t, dir, id, "said", append([]entry{claimedBy(id)}, c.entries...)...)
		r := newRig(t, dir)
		claims := r.runner.recover()
		r.begin()
		if len(claims) > 0 {
			t.Errorf("%s: claims %v", name, claims)
		}
		got := r.inState(id, c.state)
		if got.Reason != c.reason {
			t.Errorf("%s: %s, %s", name, got.State, got.Reason)
		}
		if got.State == crony.Waiting {
			eventually(t, "its answer to be awaited", func() bool { return r.runner.answered(id, 1, crony.EndedFact{State: crony.Succeeded}) })
		}
		got = r.ended(id)
		if text := r.desk.text(t, id, crony.Stdout); text != "said" || !got.State.Ended() || len(got.Attempts) != 1 {
			t.Errorf("%s: output %q, %+v", name, text, got)
		}
		if n := strings.Count(r.facts(id), "exited"); n != 1 {
			t.Errorf("%s: %s", name, r.facts(id))
		}
		r.stop()
	}
}

// TestHearsAnswers has servers answer, over and over, and nonsense among it.
func TestHearsAnswers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		id := runAt(1)
		mustAdd(t, l.journal, claimedBy(id), entry{Fact: &crony.Fact{Run: id, At: time.Now(), Started: &crony.StartedFact{Attempt: 1, Callback: "f"}}})
		l.runner.mu.Lock()
		l.runner.enlist(&awaited{run: id, attempt: 1, until: time.Now().Add(time.Minute), exit: crony.ExitedFact{Attempt: 1}})
		l.runner.mu.Unlock()
		answer := func(run crony.RunID, attempt int32, state crony.RunState) *wire.FromServer {
			return &wire.FromServer{Kind: &wire.FromServer_Answer{Answer: &wire.Answer{Run: string(run), Attempt: attempt, State: string(state), Reason: "so"}}}
		}
		l.say(newStream(), answer(id, 1, "nonsense"), answer(id, 1, crony.Running), answer(id, 2, crony.Succeeded), answer(runAt(2), 1, crony.Succeeded), answer(id, 0, crony.Succeeded))
		l.sleep(time.Second)
		if !l.journal.goesOn(id) {
			t.Fatalf("it has ended: %+v", l.journal.records())
		}
		l.say(answer(id, 1, crony.Failed), answer(id, 1, crony.Succeeded))
		l.sleep(time.Second)
		for _, r := range l.journal.records() {
			if r.last().Run == id && (r.last().Ended == nil || r.last().Ended.State != crony.Failed || r.last().Ended.Reason != "so") {
				t.Errorf("%+v", r.last())
			}
		}
		if l.journal.goesOn(id) {
			t.Error("it waits on")
		}
	})
}
