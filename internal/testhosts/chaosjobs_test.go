package testhosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"crony/internal/judge"
)

// chaosJob is a job of the chaos test: what is judged, and what its manifest says besides.
type chaosJob struct {
	judge.Job

	pinned   int           // the number of the agent that alone may have it; 0: any
	movable  bool          // to another agent, when its own is down
	lasts    time.Duration // of its runs
	schedule string        // the same as Every, in cron's words
}

// chaosJobs are jobs of every mode, every way of being cut off, at one second and two; some forbid overlap, some are bound to an
// agent, some may move.
func chaosJobs() []chaosJob {
	const s, short = time.Second, 50 * time.Millisecond
	job := func(name, mode, onDisconnect string, every time.Duration) chaosJob {
		schedule := "* * * * * *"
		if every > s {
			schedule = fmt.Sprintf("*/%d * * * * *", every/s)
		}
		return chaosJob{lasts: short, schedule: schedule,
			Job: judge.Job{Name: name, Mode: mode, OnDisconnect: onDisconnect, Overlap: "allow", Every: every}}
	}
	pinned := func(n int, j chaosJob) chaosJob { j.pinned = n; return j }
	movable := func(j chaosJob) chaosJob { j.movable = true; return j }
	lasting := func(d time.Duration, j chaosJob) chaosJob { j.lasts = d; return j }
	forbid := func(d time.Duration, j chaosJob) chaosJob { j.Overlap = "forbid"; return lasting(d, j) }
	return []chaosJob{
		job("one-run", "one", "run", s),
		job("one-run-2", "one", "run", 2*s),
		pinned(1, job("one-run-pinned", "one", "run", s)),
		movable(job("one-run-movable", "one", "run", s)),
		forbid(700*time.Millisecond, job("one-run-forbid", "one", "run", s)),
		job("one-hold", "one", "hold", 2*s),
		movable(job("one-hold-movable", "one", "hold", s)),
		pinned(2, job("one-hold-pinned", "one", "hold", 2*s)),
		movable(forbid(1500*time.Millisecond, job("one-hold-forbid", "one", "hold", s))),
		movable(job("one-stop-movable", "one", "stop", 2*s)),
		lasting(30*s, job("one-stop-long", "one", "stop", 20*s)),
		job("each-run", "each", "run", 2*s),
		job("each-hold", "each", "hold", s),
		forbid(2500*time.Millisecond, job("each-hold-forbid", "each", "hold", 2*s)),
		job("race-hold", "race", "hold", s),
		job("race-run", "race", "run", 2*s),
		forbid(1500*time.Millisecond, job("race-hold-forbid", "race", "hold", s)),
	}
}

// manifest is a manifest of one job. What is as it would be anyway is left out.
func (j *chaosJob) manifest(f *fleet) string {
	var text strings.Builder
	fmt.Fprintf(&text, "jobs:\n  - name: %s\n    schedule: '%s'\n    kill_grace: 1s\n    shell: {argv: [%s, %s, %s]}\n", j.Name, j.schedule,
		filepath.Join(f.bin, "witness"), f.lines(), j.lasts)
	if j.OnDisconnect != "run" {
		fmt.Fprintf(&text, "    on_disconnect: %s\n", j.OnDisconnect)
	}
	if j.Overlap != "allow" {
		fmt.Fprintf(&text, "    overlap: %s\n", j.Overlap)
	}
	var placement []string
	if j.Mode != "one" {
		placement = append(placement, "mode: "+j.Mode)
	}
	if j.pinned > 0 {
		placement = append(placement, "agent: "+f.agents[j.pinned-1].Name)
	}
	if j.movable {
		placement = append(placement, "failover: true")
	}
	if len(placement) > 0 {
		fmt.Fprintf(&text, "    placement: {%s}\n", strings.Join(placement, ", "))
	}
	return text.String()
}

// lines is the file that all witnesses write to.
func (f *fleet) lines() string { return filepath.Join(f.out, "lines") }

// applyChaos applies the jobs, and returns those that were taken. One that asks for something that is not supported yet is left
// out, and told; not where everything is required.
func (f *fleet) applyChaos(jobs []chaosJob) []chaosJob {
	f.t.Helper()
	var taken []chaosJob
	for _, j := range jobs {
		_, err := f.ask(f.first(), "job", "apply", "-f", f.file(j.Name+".yaml", j.manifest(f)))
		switch {
		case err == nil:
			taken = append(taken, j)
		case strings.Contains(err.Error(), "not supported yet") && os.Getenv("CRONY_REQUIRE_ALL") == "":
			f.t.Logf("%s is left out: %v", j.Name, err)
		default:
			f.t.Fatalf("%s: %v", j.Name, err)
		}
	}
	for i := range taken {
		if taken[i].Mode == "each" {
			for _, a := range f.agents {
				taken[i].Agents = append(taken[i].Agents, a.Name)
			}
		}
	}
	return taken
}
