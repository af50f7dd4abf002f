//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestServersAway runs many jobs while nobody takes reports: they hold no files open, and when somebody does, all is
// delivered, each run's facts in their order.
func TestServersAway(t *testing.T) {
	const n = 150
	r := newRig(t, t.TempDir()).begin()
	away, cancel := context.WithCancel(context.Background())
	cancel()
	r.reports.begin(away)
	files := descriptors(t)
	ids := make([]crony.RunID, n)
	for i := range n {
		ids[i] = r.start(sh(fmt.Sprintf("echo %d", i)))
	}
	eventually(t, "the runs to end", func() bool {
		ended := 0
		for _, rec := range r.journal.records() {
			if rec.last().Ended != nil {
				ended++
			}
		}
		return ended == n
	})
	if more := descriptors(t) - files; more > 20 {
		t.Errorf("%d runs that wait to be delivered hold %d files", n, more)
	}
	if len(r.desk.posted) > 0 {
		t.Error("reports went to a stream that is over")
	}
	r.reports.begin(t.Context())
	for i, id := range ids {
		got := r.ended(id)
		if text := r.desk.text(t, id, crony.Stdout); got.State != crony.Succeeded || text != fmt.Sprintf("%d\n", i) {
			t.Errorf("run %d: %s, %q", i, got.State, text)
		}
		for seq, f := range r.desk.facts[id] {
			if f.Seq != seq+1 {
				t.Fatalf("run %d: fact %d came at place %d", i, f.Seq, seq)
			}
		}
	}
}

// queued puts facts and a stretch of output into a reporter that sends nothing by itself.
func queued(t *testing.T, r *rig, n int) crony.RunID {
	t.Helper()
	id := runAt(n)
	mustAdd(t, r.journal, claimed(id))
	r.reports.fact(crony.Fact{Run: id, Seq: 1, At: noon, Claimed: &crony.ClaimedFact{Job: "job", Agent: "a1"}})
	out := outputs(r.dir, id, 1, 4<<20)
	text := strings.Repeat(fmt.Sprintf("%09d\n", n), 100_000)
	if err := os.WriteFile(out[0].path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.reports.output(out...)
	r.reports.finish(out)
	r.reports.fact(crony.Fact{Run: id, Seq: 2, At: noon, Ended: &crony.EndedFact{State: crony.Succeeded}})
	return id
}

// TestReconnect breaks the stream with reports under way: they go again, first and in their order; acknowledgements of the
// old stream and unknown ones change nothing; no more than a window is ever under way.
func TestReconnect(t *testing.T) {
	r := newRig(t, t.TempDir())
	ack := r.desk.ack
	r.desk.ack = nil
	var ids []crony.RunID
	for n := range 6 {
		ids = append(ids, queued(t, r, n))
	}
	first, cancel := context.WithCancel(t.Context())
	r.reports.begin(first)
	for r.reports.sendOne() {
	}
	if len(r.desk.posted) != window || len(r.reports.inflight) != window {
		t.Fatalf("%d reports under way, want %d", len(r.desk.posted), window)
	}
	cancel()
	r.reports.acked(1)
	before := r.desk.posted[1].GetReport()
	*r.desk = *newDesk()
	r.reports.begin(t.Context())
	r.reports.sendOne()
	again := r.desk.posted[0].GetReport()
	if again.GetId() <= window || len(again.GetChunks()) == 0 || again.GetChunks()[0].GetOffset() != before.GetChunks()[0].GetOffset() {
		t.Errorf("the first report on the new stream is not what was not acknowledged on the old")
	}
	r.reports.acked(2) // of the old stream
	r.reports.acked(99)
	r.desk.ack = ack
	ack(again.GetId())
	for eventuallyEmpty := false; !eventuallyEmpty; {
		for r.reports.sendOne() {
		}
		r.desk.acks.Wait()
		r.reports.mu.Lock()
		eventuallyEmpty = len(r.reports.queue)+len(r.reports.inflight) == 0
		r.reports.mu.Unlock()
	}
	for n, id := range ids {
		chunks := r.desk.chunks[id]
		if n == 0 { // its beginning was acknowledged on the old stream
			if chunks[0].Offset == 0 {
				t.Error("what was acknowledged was sent again")
			}
			chunks = append([]crony.Chunk{{Data: make([]byte, chunks[0].Offset)}}, chunks...)
		}
		end := int64(0)
		for _, c := range chunks {
			if c.Offset != end {
				t.Fatalf("run %d: offset %d after %d", n, c.Offset, end)
			}
			end = c.End()
		}
		if end != 1_000_000 || r.journal.knows(id) {
			t.Errorf("run %d: %d bytes; the journal knows it: %t", n, end, r.journal.knows(id))
		}
	}
	if !slices.IsSortedFunc(r.desk.ordered, func(a, b crony.RunID) int { return strings.Compare(string(a), string(b)) }) {
		t.Errorf("runs out of order: %v", r.desk.ordered)
	}
}

// TestReportSizes holds reports to the bounds that servers set, with the largest facts and much output.
func TestReportSizes(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.desk.ack = nil
	for n := range 400 {
		mustAdd(t, r.journal, claimed(runAt(n)))
		r.runner.end(runAt(n), crony.Failed, strings.Repeat("\x01", 2*maxReason))
	}
	queued(t, r, 1000)
	r.reports.begin(t.Context())
	for len(r.reports.queue) > 0 {
		if !r.reports.sendOne() {
			clear(r.reports.inflight)
		}
	}
	for _, msg := range r.desk.posted {
		report := msg.GetReport()
		size := 0
		for _, f := range report.GetFacts() {
			size += len(f)
			if len(f) > 16<<10 {
				t.Errorf("a fact of %d bytes", len(f))
			}
		}
		for _, c := range report.GetChunks() {
			size += len(c.GetData()) + 100
			if len(c.GetData()) > chunkSize {
				t.Errorf("a chunk of %d bytes", len(c.GetData()))
			}
		}
		if size > maxReport {
			t.Errorf("a report of %d bytes", size)
		}
	}
}

// TestRefusedPost has the way to the server full: nothing is lost or out of order.
func TestRefusedPost(t *testing.T) {
	r := newRig(t, t.TempDir())
	id := queued(t, r, 1)
	r.reports.begin(t.Context())
	r.desk.set(func() { r.desk.refuse = true })
	before := len(r.reports.queue)
	for range 3 {
		if r.reports.sendOne() {
			t.Fatal("sent into a full outbox")
		}
	}
	if len(r.reports.inflight) != 0 || len(r.reports.queue) < before {
		t.Errorf("%d in flight, %d queued", len(r.reports.inflight), len(r.reports.queue))
	}
	r.desk.set(func() { r.desk.refuse = false })
	r.begin()
	r.ended(id)
	if text := r.desk.text(t, id, crony.Stdout); len(text) != 1_000_000 {
		t.Errorf("%d bytes", len(text))
	}
}

// TestQueueStaysSmall has a run that writes all the time, while no server is there: its output waits in its file.
func TestQueueStaysSmall(t *testing.T) {
	r := newRig(t, t.TempDir())
	id := runAt(1)
	out := outputs(r.dir, id, 1, 1<<20)
	r.reports.output(out...)
	file, err := out[0].create()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for n := range 5000 {
		fmt.Fprintln(file, n)
		r.reports.look()
	}
	if n := len(r.reports.queue); n > 0 {
		t.Errorf("%d items in memory", n)
	}
	r.reports.begin(t.Context())
	r.reports.look()
	if n := len(r.reports.queue); n != 1 {
		t.Errorf("%d items for one stretch", n)
	}
}

// TestFlush gives up after its patience.
func TestFlush(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.reports.flush(time.Hour) // nothing to do
	r.reports.fact(crony.Fact{Run: runAt(1), Seq: 1, Claimed: &crony.ClaimedFact{}})
	r.reports.flush(20 * time.Millisecond)
}

var _ poster = (*link)(nil)

func TestOutboxIsBounded(t *testing.T) {
	l := newLink(nil, nil, crony.Agent{}, nil, time.Now, nil)
	for l.post(&wire.FromAgent{}) {
		if len(l.outbox) > 1000 {
			t.Fatal("it takes everything")
		}
	}
	l.begin()
	if len(l.outbox) > 0 || !l.post(&wire.FromAgent{}) {
		t.Error("it was not emptied")
	}
}

// TestReportsGiveWay has processes wait to be started: reports go once none does, and after a while in any case.
func TestReportsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		r := newReporter(nil, d, time.Now, slog.New(slog.DiscardHandler))
		var waiting atomic.Bool
		r.starting = waiting.Load
		var service sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer service.Wait()
		defer cancel()
		service.Go(func() { r.run(ctx) })
		r.begin(ctx)
		posted := func() int {
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.posted)
		}
		tell := func(n int) { r.fact(crony.Fact{Run: runAt(n), Seq: 1, Claimed: &crony.ClaimedFact{Job: "job"}}) }

		if tell(0); posted() != 1 {
			t.Error("with nothing to start a report does not go at once")
		}
		waiting.Store(true)
		if tell(1); posted() != 1 {
			t.Error("a report goes while processes wait")
		}
		waiting.Store(false)
		if time.Sleep(outputPoll); posted() != 2 {
			t.Error("a report does not go once none waits")
		}
		waiting.Store(true)
		tell(2)
		if time.Sleep(giveWay - outputPoll); posted() != 2 {
			t.Error("a report does not wait as long as it should")
		}
		if time.Sleep(2 * outputPoll); posted() != 3 {
			t.Error("a report waits as long as processes do")
		}
		if tell(3); posted() != 4 {
			t.Error("reports that have waited for long enough wait again")
		}
	})
}
