//go:build linux

package agent

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"crony"
)

// BenchmarkJournal writes the entries of small runs, each with its four facts and its settling.
func BenchmarkJournal(b *testing.B) {
	r := newRig(b, b.TempDir())
	r.journal.log = slog.New(slog.DiscardHandler)
	r.journal.reserve(1 << 30)
	const settleAfter = 1000 // runs that wait to be acknowledged
	n := 0
	for b.Loop() {
		code := 0
		mustKeep(b, r.journal, claimed(runAt(n)), started(runAt(n)),
			entry{Fact: &crony.Fact{Run: runAt(n), At: noon, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &code, CPUSeconds: 0.002}}},
			entry{Fact: &crony.Fact{Run: runAt(n), At: noon, Ended: &crony.EndedFact{State: crony.Succeeded}}})
		if n++; n > settleAfter {
			mustKeep(b, r.journal, entry{Settled: runAt(n - settleAfter)})
		}
	}
	b.ReportMetric(5*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkLook looks at the outputs of 5,000 runs that go on, as happens five times a second.
func BenchmarkLook(b *testing.B) {
	r := newRig(b, b.TempDir())
	for n := range 5000 {
		out := outputs(r.dir, runAt(n), 1, 1<<20)
		if err := createAll(out); err != nil {
			b.Fatal(err)
		}
		r.reports.output(out...)
	}
	r.reports.begin(b.Context())
	for b.Loop() {
		r.reports.look()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/outputPoll.Seconds(), "of-a-core")
}

// BenchmarkUndelivered runs small jobs while no server is there, and reports what each takes of the disk until it is delivered.
func BenchmarkUndelivered(b *testing.B) {
	const runs = 1000
	var journal, outputs float64
	for b.Loop() {
		r := newRig(b, b.TempDir())
		r.journal.log, r.reports.log, r.runner.log = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
		r.desk.set(func() { r.desk.refuse = true })
		r.begin()
		j := testJob(func(j *crony.Job) { j.Shell.Argv = []string{"/bin/echo", "done"} })
		for n := range runs {
			if err := r.runner.claim(runAt(n), j, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: noon}); err != nil {
				b.Fatal(err)
			}
			r.runner.start(newAttempt(runAt(n), j, time.Now()))
		}
		eventually(b, "all to end", func() bool {
			ended := 0
			for _, rec := range r.journal.records() {
				if rec.last().Ended != nil {
					ended++
				}
			}
			return ended == runs
		})
		journal, outputs = float64(r.journal.bytes())/runs, float64(r.reports.depth().outputs)/runs
		r.desk.set(func() { r.desk.refuse = false })
		r.stop()
		if err := os.RemoveAll(r.dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(journal, "journal-bytes-per-run")
	b.ReportMetric(outputs, "output-bytes-per-run")
}
