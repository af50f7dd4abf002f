//go:build linux

package agent

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"crony"
	"crony/internal/wire"
)

// burst is how many runs come due in the same second.
const burst = 2000

// BenchmarkBurst starts a burst of commands through the real journal, runner and reporter. Its floor is a loop of bare
// os/exec, as many at a time as the runner starts: once with two output files of its own for each command, as every run has,
// and once with one file that is open already for all. Measured is the time until the last command starts. The three take
// turns, and the ratios are the medians of the rounds.
func BenchmarkBurst(b *testing.B) {
	const rounds = 5
	var ours, floors, barest []float64
	for b.Loop() {
		for range rounds {
			floors = append(floors, burstByExec(b, ownFiles))
			ours = append(ours, burstByRunner(b))
			barest = append(barest, burstByExec(b, sharedFile))
		}
	}
	b.ReportMetric(0, "ns/op") // that of all together says nothing
	b.ReportMetric(median(ours)*1000, "ms-to-last-start")
	b.ReportMetric(median(floors)*1000, "ms-bare")
	b.ReportMetric(median(ratios(ours, floors)), "ratio")
	b.ReportMetric(median(ratios(ours, barest)), "ratio-without-files")
}

func ratios(a, b []float64) []float64 {
	list := make([]float64, len(a))
	for i := range a {
		list[i] = a[i] / b[i]
	}
	return list
}

func median(list []float64) float64 { return quantile(list, 0.5) }

func quantile(list []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// burstByRunner returns the seconds until the last of a burst starts, claimed a second before.
func burstByRunner(b *testing.B) float64 {
	r := newRig(b, b.TempDir())
	log := slog.New(slog.DiscardHandler)
	r.journal.log, r.reports.log, r.runner.log = log, log, log
	r.begin()
	defer r.stop()
	j := testJob(func(j *crony.Job) { j.Shell.Argv = []string{"/bin/true"} })
	due := time.Now().Add(time.Second)
	for n := range burst {
		if err := r.runner.claim(runAt(n), j, crony.ClaimedFact{Trigger: crony.BySchedule}); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(time.Until(due)) // as long as an agent has
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
	return last.Sub(began.Round(0)).Seconds()
}

// sharedFile opens one file for both streams of every command.
func sharedFile(b *testing.B) func(n int) [2]*os.File {
	out := create(b, filepath.Join(b.TempDir(), "out"))
	b.Cleanup(func() { out.Close() })
	return func(int) [2]*os.File { return [2]*os.File{out, out} }
}

// ownFiles makes two files for each command.
func ownFiles(b *testing.B) func(n int) [2]*os.File {
	dir := b.TempDir()
	return func(n int) [2]*os.File {
		path := filepath.Join(dir, fmt.Sprint(n))
		return [2]*os.File{create(b, path+".stdout"), create(b, path+".stderr")}
	}
}

func create(b *testing.B, path string) *os.File {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Error(err)
	}
	return file
}

// burstByExec returns the seconds until the last of a burst starts.
func burstByExec(b *testing.B, files func(*testing.B) func(n int) [2]*os.File) float64 {
	open := files(b)
	work := make(chan int, burst)
	for n := range burst {
		work <- n
	}
	close(work)
	var mu sync.Mutex
	var last time.Time
	var starting, running sync.WaitGroup
	began := time.Now()
	for range starters {
		starting.Go(func() {
			for n := range work {
				cmd := exec.Command("/bin/true")
				out := open(n)
				cmd.Stdout, cmd.Stderr = out[0], out[1]
				at := time.Now()
				if err := cmd.Start(); err != nil {
					b.Error(err)
					return
				}
				if out[0] != out[1] {
					out[0].Close()
					out[1].Close()
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
	return last.Sub(began).Seconds()
}

const manyJobs = 100_000

// hourly returns the definition of a job as it comes off the wire; all of them together are due evenly over each hour.
func hourly(tb testing.TB, n int) crony.Definition {
	job := crony.Job{Name: fmt.Sprintf("team-%02d-report-%06d", n%50, n), Group: fmt.Sprintf("team-%02d", n%50),
		Labels: map[string]string{"site": fmt.Sprint("site-", n%7)}, Schedule: fmt.Sprintf("%d %d * * * *", n%60, n/60%60),
		Shell: &crony.Shell{Command: fmt.Sprintf("/usr/local/bin/report --customer %06d", n)}}
	def, err := wire.Decode[crony.Definition](wire.Encode(crony.Definition{UID: string(runAt(n)), Generation: 3, CreatedAt: noon,
		UpdatedAt: noon, PlanSince: noon, UpdatedBy: "someone", Job: job}))
	if err != nil {
		tb.Fatal(err)
	}
	return def
}

func manyHourly(b *testing.B) *timetable {
	table := newTimetable((&zones{}).load)
	for n := range manyJobs {
		table.assign(hourly(b, n), 1, noon, noon)
	}
	return table
}

// BenchmarkWake lets an hour pass over a timetable of 100,000 jobs, second by second, and reports the time for each job that
// comes due. Its floor is a wake of robfig/cron, its own loop with as many entries, of which one is due at each wake.
func BenchmarkWake(b *testing.B) {
	floor := wakeOfRobfig(b)
	table := manyHourly(b)
	now, due := noon, 0
	b.ResetTimer()
	for b.Loop() {
		for range 3600 {
			now = now.Add(time.Second)
			for _, j := range table.due(now) {
				table.settle(j, j.asked.At)
				due++
			}
		}
	}
	ours := b.Elapsed() / time.Duration(due)
	if due < manyJobs*b.N*9/10 {
		b.Fatalf("%d jobs came due in %d hours", due, b.N)
	}
	b.ReportMetric(0, "ns/op") // an hour
	b.ReportMetric(ours.Seconds()*1e6, "µs-per-due-job")
	b.ReportMetric(floor.Seconds()*1e6, "µs-per-wake-robfig")
	b.ReportMetric(ours.Seconds()/floor.Seconds(), "ratio")
}

// every is a schedule for robfig/cron, whose own knows nothing shorter than a second.
type every time.Duration

// Next implements cron.Schedule.
func (e every) Next(t time.Time) time.Time { return t.Add(time.Duration(e)) }

// wakeOfRobfig returns the processor's time for one wake, without that of a cron that does not wake.
func wakeOfRobfig(b *testing.B) time.Duration {
	const wakes = 100
	c := cron.New(cron.WithSeconds())
	woken := make(chan struct{}, 2*wakes)
	c.Schedule(every(20*time.Millisecond), cron.FuncJob(func() { woken <- struct{}{} }))
	for n := range manyJobs - 1 {
		c.Schedule(every(time.Hour+time.Duration(n)*time.Millisecond), cron.FuncJob(func() {}))
	}
	c.Start()
	<-woken // all are planned
	before := processorTime(b)
	for range wakes {
		<-woken
	}
	took := processorTime(b) - before
	<-c.Stop().Done()
	return took / wakes
}

func processorTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkMemory reports what a timetable of 100,000 jobs holds of memory, their definitions included.
func BenchmarkMemory(b *testing.B) {
	var bytes float64
	for b.Loop() {
		bytes = bytesHeld(func() *timetable { return manyHourly(b) })
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bytes/1e6, "MB")
	b.ReportMetric(bytes/manyJobs, "bytes-per-job")
}

// TestMemory holds what a job takes of memory against a bound. So few jobs share less than many do, and every other one is
// in a time zone, which would be thousands of bytes if it were each job's own.
func TestMemory(t *testing.T) {
	const jobs, most = 20_000, 540
	each := bytesHeld(func() *timetable {
		table := newTimetable((&zones{}).load)
		for n := range jobs {
			def := hourly(t, n)
			if n%2 == 0 {
				def.Job.Schedules = []crony.ScheduleEntry{{Cron: def.Job.Schedule, Timezone: "Europe/Berlin"}}
				def.Job.Schedule = ""
			}
			table.assign(def, 1, noon, noon)
		}
		return table
	}) / jobs
	t.Logf("%.0f bytes for each job", each)
	if each > most {
		t.Errorf("%.0f bytes for each job, of at most %d", each, most)
	}
}

// bytesHeld returns how much of the heap a timetable keeps.
func bytesHeld(fill func() *timetable) float64 {
	before := heapBytes()
	table := fill()
	after := heapBytes()
	runtime.KeepAlive(table)
	return float64(after) - float64(before)
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC() // what a finalizer or a pool held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
