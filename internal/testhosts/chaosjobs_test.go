package testhosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// chaosJobs are jobs of every mode, every way of being cut off, every kind of overlap, at one second and two; some are bound to
// an agent, some may move. Those that are not due each second take turns: a machine can start only so many processes in the 50 ms after
// an instant, and a Go program, as those are that the jobs run, takes 2 ms of a processor before its first word. So where no agent
// fails, those are left out that differ from others only when one does, and those that run on each agent one after the other.
func chaosJobs(onlyServers bool) []chaosJob {
	list := everyKind()
	if onlyServers {
		list = slices.DeleteFunc(list, func(j chaosJob) bool {
			return j.Again || j.movable || j.pinned > 0 || j.Mode == "each" && j.Overlap != "allow"
		})
	}
	seldom := 0
	for i := range list {
		if j := &list[i]; j.Every > time.Second {
			j.Offset = time.Duration(seldom%2) * time.Second
			j.schedule = fmt.Sprintf("%d/%d * * * * *", seldom%2, j.Every/time.Second)
			seldom++
		}
	}
	return list
}

func everyKind() []chaosJob {
	const s, short = time.Second, 50 * time.Millisecond
	job := func(name, mode, onDisconnect string, every time.Duration) chaosJob {
		return chaosJob{lasts: short, schedule: "* * * * * *",
			Job: judge.Job{Name: name, Mode: mode, OnDisconnect: onDisconnect, Overlap: "allow", Every: every}}
	}
	pinned := func(n int, j chaosJob) chaosJob { j.pinned = n; return j }
	movable := func(j chaosJob) chaosJob { j.movable = true; return j }
	lasting := func(d time.Duration, j chaosJob) chaosJob { j.lasts = d; return j }
	overlap := func(how string, d time.Duration, j chaosJob) chaosJob { j.Overlap = how; return lasting(d, j) }
	again := func(d time.Duration, j chaosJob) chaosJob { j.Again = true; return lasting(d, j) }
	forbid := func(d time.Duration, j chaosJob) chaosJob { return overlap("forbid", d, j) }
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
		overlap("queue", 600*time.Millisecond, job("one-run-queue", "one", "run", s)),
		movable(overlap("queue", 1500*time.Millisecond, job("one-hold-queue", "one", "hold", 2*s))),
		overlap("queue", 1200*time.Millisecond, job("race-hold-queue", "race", "hold", 2*s)),
		overlap("replace", 3*s, job("one-run-replace", "one", "run", 2*s)),
		overlap("replace", 3*s, job("each-hold-replace", "each", "hold", 2*s)),
		again(1200*time.Millisecond, movable(job("one-run-again", "one", "run", 2*s))),
		again(3*s, movable(job("one-stop-again", "one", "stop", 5*s))),
		again(1200*time.Millisecond, movable(job("one-hold-again", "one", "hold", 2*s))),
		again(1200*time.Millisecond, job("each-run-again", "each", "run", 5*s)),
		again(1200*time.Millisecond, job("race-hold-again", "race", "hold", 2*s)),
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
	if j.Again {
		text.WriteString("    on_lost: rerun\n")
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
