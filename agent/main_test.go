package agent

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// testLog writes a log to the test's.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// logText is a log that a test reads.
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

func (l *logText) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// eventually polls one condition until it is met.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for ", what)
		}
	}
}

// desk stands for a server: it takes reports and, while it is open, acknowledges them.
type desk struct {
	mu      sync.Mutex
	ack     func(id uint64)
	closed  bool
	posted  []*wire.FromAgent
	facts   map[crony.RunID][]crony.Fact
	chunks  map[crony.RunID][]crony.Chunk
	refuse  bool // post returns false
	acks    sync.WaitGroup
	ordered []crony.RunID // of each fact, as they came
}

func newDesk() *desk {
	return &desk{facts: map[crony.RunID][]crony.Fact{}, chunks: map[crony.RunID][]crony.Chunk{}}
}

// post implements poster.
func (d *desk) post(msg *wire.FromAgent) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse {
		return false
	}
	d.posted = append(d.posted, msg)
	report := msg.GetReport()
	if report == nil || d.closed {
		return true
	}
	for _, data := range report.GetFacts() {
		f, err := wire.Decode[crony.Fact](data)
		if err != nil {
			panic(err)
		}
		d.facts[f.Run] = append(d.facts[f.Run], f)
		d.ordered = append(d.ordered, f.Run)
	}
	for _, c := range report.GetChunks() {
		d.chunks[crony.RunID(c.GetRun())] = append(d.chunks[crony.RunID(c.GetRun())], c.Domain())
	}
	if d.ack != nil {
		d.acks.Go(func() { d.ack(report.GetId()) })
	}
	return true
}

func (d *desk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// run returns the fold of what was reported of a run.
func (d *desk) run(id crony.RunID) crony.Run {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, _ := crony.Fold(d.facts[id])
	return r
}

// text returns what was delivered of a stream, with the gap, if there is one, as "<n bytes>".
func (d *desk) text(t testing.TB, id crony.RunID, stream crony.Stream) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	end := int64(0)
	for _, c := range d.chunks[id] {
		switch {
		case c.Stream != stream:
			continue
		case c.Offset < end:
			t.Errorf("a chunk at %d after %d", c.Offset, end)
		case c.Offset > end:
			fmt.Fprintf(&b, "<%d bytes>", c.Offset-end)
		}
		b.Write(c.Data)
		end = c.End()
	}
	return b.String()
}

// rig is a runner and a reporter whose reports go to a desk.
type rig struct {
	t       testing.TB
	dir     string
	desk    *desk
	journal *journal
	reports *reporter
	runner  *runner
	stop    func()
	bare    bool // runs have no cgroups
}

func newRig(t testing.TB, dir string) *rig {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, outputDir), 0o700); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	j, err := openJournal(filepath.Join(dir, "journal"), log)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk()
	reports := newReporter(j, d, time.Now, log)
	d.ack = reports.acked
	r, err := newRunner("a1", dir, j, reports, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	r.launches = true
	return &rig{t: t, dir: dir, desk: d, journal: j, reports: reports, runner: r, stop: func() {}}
}

// begin lets it work until the end of the test, or until stop.
func (r *rig) begin() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var services sync.WaitGroup
	if !r.bare {
		r.enclosed()
	}
	r.runner.begin()
	services.Go(func() { r.reports.run(ctx) })
	r.reports.begin(ctx)
	r.stop = sync.OnceFunc(func() {
		r.runner.drain(0)
		cancel()
		services.Wait()
		r.desk.acks.Wait()
		if err := r.journal.close(); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { r.stop() })
	return r
}

// enclosed gives runs cgroups of their own, where that can be had; an agent of the same directory finds them.
func (r *rig) enclosed() {
	if r.runner.cgroups != nil {
		return
	}
	name := fnv.New64()
	name.Write([]byte(r.dir))
	groups, err := openCgroups("", fmt.Sprintf("crony-test-%x", name.Sum(nil)), r.runner.log)
	if err != nil {
		r.t.Log("without cgroups: ", err)
		return
	}
	r.runner.cgroups = groups
	r.t.Cleanup(func() {
		if err := groups.close(); err != nil {
			r.t.Error(err)
		}
	})
}

// start claims and starts a run of a shell job.
func (r *rig) start(change func(*crony.Job)) crony.RunID {
	r.t.Helper()
	j := testJob(change)
	id := crony.NewRunID(time.Now())
	if err := r.runner.claim(id, j, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: time.Now()}); err != nil {
		r.t.Fatal(err)
	}
	r.runner.start(newAttempt(id, j, time.Now()))
	return id
}

func testJob(change func(*crony.Job)) *assignment {
	j := &assignment{epoch: 7, def: crony.Definition{UID: "uid", Generation: 3, Job: crony.Job{Name: "job", Shell: &crony.Shell{}}}}
	if change != nil {
		change(&j.def.Job)
	}
	return j
}

func sh(command string) func(*crony.Job) {
	return func(j *crony.Job) { j.Shell.Command = command }
}

// ended waits until all of a run is delivered and forgotten.
func (r *rig) ended(id crony.RunID) crony.Run {
	r.t.Helper()
	eventually(r.t, "the end of the run", func() bool {
		r.reports.mu.Lock()
		defer r.reports.mu.Unlock()
		return r.reports.owed[id] == nil
	})
	return r.desk.run(id)
}
