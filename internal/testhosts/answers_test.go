package testhosts_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testhosts"
)

// TestAnswers has a thousand runs wait for the service that they have called, while each server is stopped and started, and then all
// are killed at once: each run ends by its own answer, which is told once, with all that was logged.
func TestAnswers(t *testing.T) {
	long(t)
	const many = 1000
	f := &fleet{t: t, Lab: testhosts.New(t, 5), bin: programs(t)}
	build(t, f.bin, "./internal/testhosts/answerer")
	f.form(3, 1)
	f.observer = f.observe()
	service := f.Hosts()[4]
	service.Start("answerer", filepath.Join(f.bin, "answerer"), service.IP+":9000", f.observer.caFile, "60s")
	due := time.Now().Add(20 * time.Second).Truncate(time.Second)
	var manifest strings.Builder
	manifest.WriteString("jobs:\n")
	for i := range many {
		fmt.Fprintf(&manifest, "  - {name: job-%d, schedules: [{at: [%q]}], timeout: 10m, http: {method: POST, url: 'http://%s:9000/', async: true}}\n",
			i, due.Format(time.RFC3339), service.IP)
	}
	f.must(f.first(), "job", "apply", "-f", f.file("thousand.yaml", manifest.String()))
	count := func(state crony.RunState) (n int) {
		text, err := f.ask(f.first(), "run", "list", "--state", string(state), "--count", "-o", "json")
		if err != nil {
			return -1
		}
		var c crony.RunCount
		f.decode(text, &c)
		return int(c.Runs)
	}
	f.Wait(90*time.Second, "all runs to wait", func() bool { return count(crony.Waiting) == many })
	waiting := time.Since(due)
	for _, s := range f.servers {
		s.proc.Stop(30 * time.Second)
		f.start(s)
		f.Wait(time.Minute, "the cluster to be whole again", f.whole)
	}
	restarted := time.Since(due)
	for _, s := range f.servers {
		s.proc.Kill()
	}
	for _, s := range f.servers {
		f.start(s)
	}
	f.Wait(3*time.Minute, "all runs to succeed", func() bool { return count(crony.Succeeded) == many })
	t.Logf("%d runs waited %s after they were due; each server was stopped and started until %s, and then all were killed; the last answer came %s "+
		"after they were due", many, waiting.Round(time.Second), restarted.Round(time.Second), time.Since(due).Round(time.Second))

	seen := map[crony.RunID]bool{}
	for _, line := range strings.Split(strings.TrimSpace(f.must(f.first(), "run", "export", "--with-output")), "\n") {
		var kept struct {
			crony.Run
			Output string `json:"output"`
		}
		if err := json.Unmarshal([]byte(line), &kept); err != nil {
			t.Fatalf("%v: %.300s", err, line)
		}
		r := &kept.Run
		seen[r.ID] = true
		if want := fmt.Sprintf(`{"run":%q}`, r.ID); r.State != crony.Succeeded || len(r.Attempts) != 1 || string(r.Result) != want ||
			r.Progress == nil || r.Progress.Percent != 100 || !strings.Contains(kept.Output, "part 1\npart 2\npart 3\npart 4\n") ||
			strings.Count(kept.Output, "part") != 4 {
			t.Errorf("%.900s", line)
		}
	}
	if len(seen) != many {
		t.Errorf("%d runs are on record, want %d", len(seen), many)
	}
}
