package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans has orphans of the agent's descendants become its own children, and not those of the host's first process: see
// PR_SET_CHILD_SUBREAPER in prctl(2).
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	return nil
}

// reapEvery is how often adopted children are looked for that have ended.
const reapEvery = time.Second

// reap takes away adopted children that have ended, until ctx is done.
func (c *children) reap(ctx context.Context) error {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	seen := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			seen = c.reapSeen(seen)
		}
	}
}

// reapSeen takes away those that it has seen before, and returns those that it sees now. Whoever else in this process starts one
// has the time between to wait for it.
func (c *children) reapSeen(before map[int]bool) map[int]bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || info.Signo == 0 { // no child has ended
		return nil
	}
	seen := map[int]bool{}
	for _, pid := range zombies(os.Getpid()) {
		switch {
		case !c.adopted(pid):
		case !before[pid]:
			seen[pid] = true
		default:
			if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); errors.Is(err, unix.EINTR) {
				seen[pid] = true
			}
		}
	}
	return seen
}

// zombies returns the children of a process that have ended, and wait to be taken away.
func zombies(parent int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // its only error is for a bad pattern
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if fields, err := statOf(pid); err == nil && fields[statState] == "Z" && fields[statParent] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}
