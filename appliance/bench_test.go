package appliance_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// BenchmarkLateness has 50 jobs due each second, evenly over it, for ten seconds, and reports how long after their instants
// they start, their claims through a server. Its floor is a loop of one timer that starts the same program at the same
// distances.
func BenchmarkLateness(b *testing.B) {
	const jobs, seconds = 50, 10
	for b.Loop() {
		floor := latenessBare(b, jobs*seconds, time.Second/jobs)
		c := testcluster.Start(b, 1)
		first := time.Now().Add(5 * time.Second).Truncate(time.Second)
		c.Apply(spread(jobs, seconds, first))
		time.Sleep(time.Until(first.Add(seconds * time.Second)))
		var runs []crony.Run
		c.Wait("all runs", func() bool {
			runs = c.AllRuns("")
			return finished(runs) == jobs*seconds
		})
		var late []time.Duration
		for _, r := range runs {
			if r.State != crony.Succeeded {
				b.Fatalf("%+v", r)
			}
			late = append(late, r.StartedAt.Sub(r.ScheduledAt))
		}
		reportLateness(b, late, "")
		reportLateness(b, floor, "-bare")
	}
	b.ReportMetric(0, "ns/op") // that of all together says nothing
}

// spread is a manifest of jobs that come due once a second each, one after the other.
func spread(jobs, seconds int, first time.Time) string {
	var text strings.Builder
	text.WriteString("jobs:\n")
	for n := range jobs {
		var at []string
		for s := range seconds {
			due := first.Add(time.Duration(s)*time.Second + time.Duration(n)*time.Second/time.Duration(jobs))
			at = append(at, due.UTC().Format(time.RFC3339Nano))
		}
		fmt.Fprintf(&text, "- name: job-%d\n  shell: {argv: [/bin/true]}\n  schedules: [{at: ['%s']}]\n", n, strings.Join(at, "', '"))
	}
	return text.String()
}

func latenessBare(b *testing.B, starts int, every time.Duration) []time.Duration {
	var running sync.WaitGroup
	defer running.Wait()
	late := make([]time.Duration, 0, starts)
	due := time.Now()
	for range starts {
		due = due.Add(every)
		<-time.After(time.Until(due))
		late = append(late, time.Since(due))
		cmd := exec.Command("/bin/true")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		running.Go(func() { cmd.Wait() })
	}
	return late
}

func reportLateness(b *testing.B, late []time.Duration, of string) {
	slices.Sort(late)
	ms := func(part float64) float64 { return late[int(part*float64(len(late)-1))].Seconds() * 1000 }
	b.ReportMetric(ms(0.5), "p50-ms"+of)
	b.ReportMetric(ms(0.99), "p99-ms"+of)
}
