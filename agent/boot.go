package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"crony"
	"crony/internal/durable"
)

// boots tells the host's boots apart, over the lives of the agents on it. That an agent was restarted or upgraded is no boot;
// that its container was started is one.
type boots struct {
	path string // of the file with the boot that was last seen
	now  string // names the present boot
	news bool   // it has not been seen before
}

// openBoots looks whether the host has booted since the agent's directory was last used. A directory that is new has seen no
// boot.
func openBoots(dir string) (boots, error) {
	id, err := bootID()
	if err != nil {
		return boots{}, fmt.Errorf("ask for the host's boot: %w", err)
	}
	ticks, err := startTicks(firstProcess)
	if err != nil {
		return boots{}, fmt.Errorf("ask for the start of process %d: %w", firstProcess, err)
	}
	b := boots{path: filepath.Join(dir, "boot"), now: fmt.Sprintf("%s %d\n", id, ticks)}
	before, err := os.ReadFile(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, b.seen()
	case err != nil:
		return b, fmt.Errorf("read the last boot: %w", err)
	}
	b.news = string(before) != b.now
	return b, nil
}

// seen writes down that what a boot brings with it is done, or written down.
func (b *boots) seen() error {
	if err := durable.WriteFile(b.path, []byte(b.now), 0o600); err != nil {
		return fmt.Errorf("write down the boot: %w", err)
	}
	b.news = false
	return nil
}

// reboot starts the jobs that are due when the host has booted: those that the agent has when it first hears of all of its
// jobs after that. All of them are in the journal before the boot counts as seen, and start after it, so that whenever the
// agent dies in between, each starts once. What can't be written down is tried again.
func (l *loop) reboot() {
	for _, name := range slices.Sorted(maps.Keys(l.table.jobs)) {
		j := l.table.jobs[name]
		if l.booted[name] || j.plan == nil || !j.plan.Reboot() {
			continue
		}
		now := l.clock()
		run := crony.NewRunID(now)
		what := j.assignment()
		if err := l.runner.claim(run, what, crony.ClaimedFact{Trigger: crony.ByReboot, ScheduledAt: now.UTC()}); err != nil {
			l.log.Error("run not written down, and so not started", "job", name, "run", run, "err", err)
			return
		}
		l.booted[name] = true
		l.boot = append(l.boot, &seat{run: run, job: j, what: what, at: now})
	}
	if err := l.boots.seen(); err != nil {
		if !l.late {
			l.log.Error("jobs of this boot wait", "err", err)
		}
		l.late = true
		return
	}
	for _, g := range l.boot {
		l.enter(g)
	}
	l.listed, l.late, l.boot = false, false, nil
}
