//go:build linux

package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/wire"
)

// newStream begins a stream, and returns what ends it.
func (r *rig) newStream(ctx context.Context) (end func()) {
	stream, end := context.WithCancel(ctx)
	r.reports.begin(stream)
	return end
}

// TestNobodyTakesReports has stream after stream end when the first report comes: reports come ever more seldom, one on each
// stream, and never stop. When one is acknowledged, all go at once.
func TestNobodyTakesReports(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir)
		r.desk.ack = nil
		for n := range 3000 {
			r.reports.fact(crony.Fact{Run: runAt(n), Seq: 1, At: noon, Claimed: &crony.ClaimedFact{Job: "job"}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.reports.run(ctx) })
		defer running.Wait()
		defer cancel()
		posted := func() int {
			synctest.Wait()
			r.desk.mu.Lock()
			defer r.desk.mu.Unlock()
			return len(r.desk.posted)
		}
		end := r.newStream(ctx)
		before := posted()
		if before < 2 || before > window {
			t.Fatalf("%d reports on the first stream", before)
		}
		began, tries := time.Now(), 0
		for time.Since(began) < 10*time.Minute {
			end()
			end = r.newStream(ctx)
			for n := posted(); n == before; n = posted() {
				if time.Sleep(outputPoll); time.Since(began) > 11*time.Minute {
					t.Fatal("no report comes any more")
				}
			}
			tries++
			if n := posted(); n != before+1 {
				t.Fatalf("%d reports on a stream after others that took none", n-before)
			}
			before = posted()
		}
		if tries < int(10*time.Minute/lastHold) || tries > 100 {
			t.Errorf("%d tries in ten minutes", tries)
		}
		r.reports.acked(r.reports.last)
		if n := posted(); n < before+2 {
			t.Errorf("after an acknowledgement %d reports go", n-before)
		}
		end()
	})
}

// book is a server's run log as a test needs it: it takes each record, and refuses one that is another than it has.
type book struct {
	mu     sync.Mutex
	shut   bool // takes nothing, and ends the stream
	facts  map[crony.RunID][]string
	seen   map[string]string // by run and number
	output map[crony.RunID]map[int64]byte
	fault  error
	claims int
	tries  int // reports that were refused
	ended  map[crony.RunID]bool
}

func newBook() *book {
	return &book{facts: map[crony.RunID][]string{}, seen: map[string]string{}, output: map[crony.RunID]map[int64]byte{},
		ended: map[crony.RunID]bool{}}
}

func (b *book) take(report *wire.Report) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		b.tries++
		return status.Error(codes.Unavailable, "no quorum")
	}
	for _, data := range report.GetFacts() {
		f, err := wire.Decode[crony.Fact](data)
		if err != nil {
			return err
		}
		key := fmt.Sprint(f.Run, f.Seq)
		switch before, again := b.seen[key]; {
		case !again:
			b.seen[key] = string(data)
			b.facts[f.Run] = append(b.facts[f.Run], fmt.Sprint(f.Seq))
			b.ended[f.Run] = b.ended[f.Run] || f.Ended != nil
		case before != string(data):
			b.fault = fmt.Errorf("another fact for %s: %s, %s", key, before, data)
		}
	}
	for _, chunk := range report.GetChunks() {
		c := chunk.Domain()
		if b.output[c.Run] == nil {
			b.output[c.Run] = map[int64]byte{}
		}
		for i, char := range c.Data {
			at := c.Offset + int64(i)
			if before, again := b.output[c.Run][at]; again && before != char {
				b.fault = fmt.Errorf("another byte at %d of %s", at, c.Run)
			}
			b.output[c.Run][at] = char
		}
	}
	return nil
}

func (b *book) text(run crony.RunID) string {
	var data []byte
	for at := int64(0); ; at++ {
		char, ok := b.output[run][at]
		if !ok {
			return string(data)
		}
		data = append(data, char)
	}
}

// serve is a server that has jobs for an agent and orders for it, and keeps what it reports in the book. Of the
// acknowledgements it loses those that lose says.
func (b *book) serve(defs []crony.Definition, orders func() []crony.StartRequest, lose func() bool) func(int, wire.Link_ConnectServer) error {
	return func(_ int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		list := []*wire.FromServer{}
		for _, def := range defs {
			list = append(list, assigned(def, 1, time.Now().Add(-time.Second), ""))
		}
		list = append(list, synced())
		for _, o := range orders() {
			list = append(list, ordered(defs[slices.IndexFunc(defs, func(d crony.Definition) bool { return d.Job.Name == o.Job })], o))
		}
		for _, msg := range list {
			if err := link.Send(msg); err != nil {
				return err
			}
		}
		for {
			msg, err := link.Recv()
			if err != nil {
				return err
			}
			if err := b.answer(link, msg, lose); err != nil {
				return err
			}
		}
	}
}

func (b *book) answer(link wire.Link_ConnectServer, msg *wire.FromAgent, lose func() bool) error {
	if req := msg.GetClaims(); req != nil {
		b.mu.Lock()
		b.claims += len(req.GetOccurrences())
		b.mu.Unlock()
		reply := &wire.ClaimReply{Id: req.GetId()}
		for _, o := range req.GetOccurrences() {
			d := &wire.Decision{Granted: true}
			if o.GetPass() == nil {
				d.Run = string(crony.OccurrenceRunID("uid-"+o.GetJob(), wire.Time(o.GetAt()), ""))
			}
			reply.Decisions = append(reply.Decisions, d)
		}
		return link.Send(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: reply}})
	}
	report := msg.GetReport()
	if report == nil {
		return nil
	}
	if err := b.take(report); err != nil {
		return err
	}
	if lose() {
		return nil
	}
	return link.Send(&wire.FromServer{Kind: &wire.FromServer_Ack{Ack: &wire.Ack{Id: report.GetId()}}})
}

// TestNoQuorum has a server that grants claims and takes no reports: it ends the stream at each. Runs go on on time, few
// reports come, and when there is a quorum all of it is delivered, in order.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.shut = true
	defs := []crony.Definition{definition("m", "* * * * * *", func(j *crony.Job) { j.Shell = &crony.Shell{Command: "echo $CRONY_RUN_ID"} })}
	h, opts, _ := newFakeHub(t, b.serve(defs, func() []crony.StartRequest { return nil }, func() bool { return false }))
	runAgentIn(t, opts)
	began := time.Now()
	look := func(f func() int) int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return f()
	}
	eventually(t, "occurrences to be claimed while nothing is taken", func() bool { return look(func() int { return b.claims }) >= 12 })
	took := time.Since(began)
	if tries := look(func() int { return b.tries }); tries < 2 || tries > 8+int(took.Seconds()) || h.streams() > 10+int(took.Seconds()) {
		t.Errorf("%d reports and %d streams within %s", tries, h.streams(), took)
	}
	if took > 25*time.Second {
		t.Errorf("12 occurrences of a job that is due each second took %s", took)
	}
	b.mu.Lock()
	b.shut = false
	b.mu.Unlock()
	eventually(t, "all to be delivered", func() bool { return look(func() int { return len(b.ended) }) >= 10 })
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		t.Error(b.fault)
	}
	for run, ended := range b.ended {
		if want := []string{"1", "2", "3", "4"}; ended && (!slices.Equal(b.facts[run], want) || b.text(run) != string(run)+"\n") {
			t.Errorf("%s: facts %v, output %q", run, b.facts[run], b.text(run))
		}
	}
}

// TestKilledAtAnyTime kills the agent again and again, as it works and while acknowledgements are lost on their way. Each run
// starts once at most; all of its facts come, in their order, those that come twice the same; and all of its output.
func TestKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	const runs, kills = 120, 14
	b := newBook()
	marks := filepath.Join(t.TempDir(), "marks")
	def := definition("m", "", func(j *crony.Job) {
		j.Shell = &crony.Shell{Command: "echo $CRONY_RUN_ID >> " + marks + "; seq 3000; sleep 0.0$((RANDOM % 10)); echo end", Interpreter: "/bin/bash"}
	})
	seq, err := exec.Command("seq", "3000").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ids []crony.RunID
	for range runs {
		ids = append(ids, crony.NewRunID(time.Now()))
	}
	var losing sync.Mutex
	n := 0
	lose := func() bool {
		losing.Lock()
		defer losing.Unlock()
		n++
		return n%3 == 0
	}
	orders := func() []crony.StartRequest { // a few more with each stream
		losing.Lock()
		defer losing.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		var list []crony.StartRequest
		for _, id := range ids {
			if len(b.facts[id]) == 0 && len(list) < 12 {
				list = append(list, crony.StartRequest{Run: id, Job: "m", At: time.Now()})
			}
		}
		return list
	}
	_, opts, _ := newFakeHub(t, b.serve([]crony.Definition{def}, orders, lose))
	config := writeTo(t, filepath.Join(t.TempDir(), "agent.yaml"), "dir: "+opts.Dir+"\nmetrics: {listen: ''}\n")
	done := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(slices.DeleteFunc(slices.Clone(ids), func(id crony.RunID) bool { return !b.ended[id] }))
	}
	for life := 0; done() < runs; life++ {
		cmd := startChild(t, nil, "agent", config)
		began, before := time.Now(), done()
		eventually(t, "more runs", func() bool {
			return done() == runs || life < kills && time.Since(began) > time.Duration(50+life*37)*time.Millisecond ||
				life >= kills && done() >= before+12 || life >= kills && time.Since(began) > 5*time.Second
		})
		cmd.Process.Kill()
		cmd.Wait()
		if life > 4*kills {
			t.Fatalf("%d of %d runs have ended after %d lives", done(), runs, life)
		}
	}
	text, err := os.ReadFile(marks)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		t.Error(b.fault)
	}
	whole := 0
	for _, id := range ids {
		facts := b.facts[id]
		if !slices.IsSorted(facts) || facts[0] != "1" {
			t.Errorf("%s: facts %v", id, facts)
		}
		if n := strings.Count(string(text), string(id)+"\n"); n > 1 {
			t.Errorf("%s started %d times", id, n)
		}
		if b.text(id) == string(seq)+"end\n" {
			whole++
		} else if out := b.text(id); len(facts) == 4 && len(out) != 0 {
			t.Errorf("%s has facts %v and %d bytes of output", id, facts, len(out))
		}
	}
	t.Logf("%d of %d runs have all of their output", whole, runs)
}
