package agent

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"crony"
)

// burst is how many runs come due in the same second.
const burst = 500

// BenchmarkBurst starts a burst of commands through the real journal, runner and reporter, and for comparison by bare os/exec,
// as many at a time as the runner starts. Its ratio is that of the times until the last has started.
func BenchmarkBurst(b *testing.B) {
	var ours, bare time.Duration
	for b.Loop() {
		ours += burstByRunner(b)
		bare += burstByExec(b)
	}
	b.ReportMetric(ours.Seconds()*1000/float64(b.N), "ms-to-last-start")
	b.ReportMetric(bare.Seconds()*1000/float64(b.N), "ms-bare")
	b.ReportMetric(ours.Seconds()/bare.Seconds(), "ratio")
}

func burstByRunner(b *testing.B) time.Duration {
	r := newRig(b, b.TempDir())
	log := slog.New(slog.DiscardHandler)
	r.journal.log, r.reports.log, r.runner.log = log, log, log
	r.begin()
	defer r.stop()
	j := testJob(func(j *crony.Job) { j.Shell.Argv = []string{"/bin/true"} })
	for n := range burst { // a second before
		if err := r.runner.claim(runAt(n), j, crony.ClaimedFact{Trigger: crony.BySchedule}); err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now()
	for n := range burst {
		r.runner.start(newAttempt(runAt(n), j, began))
	}
	for n := range burst {
		r.ended(runAt(n))
	}
	var last time.Time
	for n := range burst {
		run := r.desk.run(runAt(n))
		if run.State != crony.Succeeded {
			b.Fatalf("%+v", run)
		}
		last = maxTime(last, run.StartedAt)
	}
	return last.Sub(began.Round(0))
}

func burstByExec(b *testing.B) time.Duration {
	dir := b.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	work := make(chan struct{}, burst)
	for range burst {
		work <- struct{}{}
	}
	close(work)
	var mu sync.Mutex
	var last time.Time
	var starting, running sync.WaitGroup
	began := time.Now()
	for range starters {
		starting.Go(func() {
			for range work {
				cmd := exec.Command("/bin/true")
				cmd.Stdout, cmd.Stderr = out, out
				at := time.Now()
				if err := cmd.Start(); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				last = maxTime(last, at)
				mu.Unlock()
				running.Go(func() { cmd.Wait() })
			}
		})
	}
	starting.Wait()
	running.Wait()
	return last.Sub(began)
}
