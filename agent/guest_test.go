//go:build guest

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crony"
)

// These run as the first process of a machine of their own, with a kernel that has all of cgroup v2: see guest.sh.

// guestRig is a rig whose runs can be held to every limit.
func guestRig(t *testing.T) *rig {
	r := newRig(t, t.TempDir()).begin()
	if r.runner.cgroups == nil {
		t.Fatal("no cgroups")
	}
	if lacks := r.runner.cgroups.lacking(); len(lacks) > 0 {
		t.Fatalf("no controllers for %v", lacks)
	}
	return r
}

func limited(l crony.Limits, command string) func(*crony.Job) {
	return func(j *crony.Job) {
		j.Shell, j.KillGrace = &crony.Shell{Command: command, Limits: &l}, crony.Duration(time.Second)
	}
}

// TestGuestLimits has a run read its own limits.
func TestGuestLimits(t *testing.T) {
	r := guestRig(t)
	id := r.start(limited(crony.Limits{Memory: 64 * crony.MiB, CPU: 0.5, Pids: 7},
		"cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) && cat memory.max memory.swap.max memory.oom.group cpu.max pids.max"))
	got := r.ended(id)
	// a kernel without swap has no limit for it
	out := strings.Replace(r.desk.text(t, id, crony.Stdout), "67108864\n0\n1\n", "67108864\n1\n", 1)
	if want := "67108864\n1\n50000 100000\n7\n"; out != want {
		t.Errorf("limits %q, want %q; %s, %s, %s", out, want, got.State, got.Reason, r.desk.text(t, id, crony.Stderr))
	}
	if a := got.Attempts[0]; a.MaxRSS == 0 || a.CPUSeconds == 0 || a.OOM {
		t.Errorf("measured: %+v", a)
	}
}

// TestGuestMemory has a child of the run want more memory than there is: all of the run is killed, and the reason says why.
func TestGuestMemory(t *testing.T) {
	r := guestRig(t)
	id := r.start(limited(crony.Limits{Memory: 32 * crony.MiB}, "head -c 100000000 /dev/zero | tail -c 90000000 | wc -c; echo on"))
	got := r.ended(id)
	a := got.Attempts[0]
	if got.State != crony.Failed || got.Reason != "it wanted more memory than its limit of 32MiB" || !a.OOM || a.Signal != "SIGKILL" {
		t.Errorf("%s, %q, %+v", got.State, got.Reason, a)
	}
	if a.MaxRSS < int64(30*crony.MiB) || a.MaxRSS > int64(32*crony.MiB) {
		t.Errorf("it took %d bytes", a.MaxRSS)
	}
	t.Logf("%s; %+v", got.Reason, a)
}

// TestGuestForkBomb bounds a run that forks for ever, and kills it whole.
func TestGuestForkBomb(t *testing.T) {
	r := guestRig(t)
	id := r.start(limited(crony.Limits{Pids: 20}, "echo up; bomb() { bomb | bomb & bomb; }; while :; do sleep 100 & done; bomb"))
	c := &cgroup{path: r.runner.cgroups.pathOf(id, 1)}
	eventually(t, "the bound to be reached", func() bool { return c.figures("pids.events")["max"] > 0 })
	if n := c.count(); n == 0 || n > 20 {
		t.Errorf("%d processes", n)
	}
	r.runner.kill(id, crony.KillOrder{By: "eve"})
	if got := r.ended(id); got.State != crony.Killed && got.State != crony.Failed { // a shell may give up that can't fork
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	if n := c.count(); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestGuestRlimits has runs with limits of their own that leave no room for the agent's program, which sets them.
func TestGuestRlimits(t *testing.T) {
	r := guestRig(t)
	id := r.start(func(j *crony.Job) {
		limited(crony.Limits{Pids: 1, Memory: 2 * crony.MiB}, "ulimit -n; echo ended")(j)
		j.Shell.Rlimits = &crony.Rlimits{NoFile: "77"}
	})
	got := r.ended(id)
	if out := r.desk.text(t, id, crony.Stdout); got.State != crony.Succeeded || out != "77\nended\n" {
		t.Errorf("%s, %q: %q, %q", got.State, got.Reason, out, r.desk.text(t, id, crony.Stderr))
	}
	t.Logf("%+v", got.Attempts)
}

// TestGuestCPU has a run get no more than its share of the CPUs.
func TestGuestCPU(t *testing.T) {
	r := guestRig(t)
	id := r.start(func(j *crony.Job) {
		limited(crony.Limits{CPU: 0.2}, "while :; do :; done")(j)
		j.Timeout = crony.Duration(5 * time.Second)
	})
	c := &cgroup{path: r.runner.cgroups.pathOf(id, 1)}
	var throttled int64
	eventually(t, "it to be throttled", func() bool {
		throttled = max(throttled, c.figures("cpu.stat")["nr_throttled"])
		return throttled > 20
	})
	got := r.ended(id)
	took := got.EndedAt.Sub(got.StartedAt).Seconds()
	if used := got.Attempts[0].CPUSeconds; got.State != crony.TimedOut || used < 0.1*took || used > 0.3*took {
		t.Errorf("%s: %.2f s of the CPU in %.2f s", got.State, used, took)
	}
	t.Logf("%.2f s of the CPU in %.2f s, throttled %d times", got.Attempts[0].CPUSeconds, took, throttled)
}

// TestGuestClock steps the machine's clock while a run goes on: its timeout is no other for that.
func TestGuestClock(t *testing.T) {
	r := guestRig(t)
	for _, by := range []time.Duration{48 * time.Hour, -72 * time.Hour} {
		began := monotonic(t)
		id := r.start(func(j *crony.Job) {
			limited(crony.Limits{}, "echo up; sleep 100")(j)
			j.Timeout = crony.Duration(3 * time.Second)
		})
		eventually(t, "the run to be up", func() bool { return r.desk.text(t, id, crony.Stdout) == "up\n" })
		to := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &to); err != nil {
			t.Fatal(err)
		}
		got := r.ended(id)
		if took := monotonic(t) - began; got.State != crony.TimedOut || took < 3*time.Second || took > 8*time.Second {
			t.Errorf("stepped by %s: %s, after %s", by, got.State, took)
		} else {
			t.Logf("stepped by %s: it timed out after %s", by, took)
		}
	}
}

func monotonic(t *testing.T) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// TestGuestOwnCgroup has an agent in a cgroup of its own, as a service manager makes it: it moves out of the way of its runs.
func TestGuestOwnCgroup(t *testing.T) {
	service := "/sys/fs/cgroup/service"
	if err := os.MkdirAll(service, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"memory", "cpu", "pids", "io"} {
		if err := writeControl("/sys/fs/cgroup/cgroup.subtree_control", "+"+c); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeControl(filepath.Join(service, "cgroup.procs"), fmt.Sprint(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	defer writeControl("/sys/fs/cgroup/cgroup.procs", fmt.Sprint(os.Getpid()))
	r := guestRig(t)
	if !strings.HasPrefix(r.runner.cgroups.dir, service+"/crony-test-") {
		t.Errorf("runs are in %s", r.runner.cgroups.dir)
	}
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || string(own) != "0::/service/"+agentLeaf+"\n" {
		t.Errorf("the agent is in %q, %v", own, err)
	}
	id := r.start(limited(crony.Limits{Memory: 32 * crony.MiB}, "tail -c 90000000 /dev/zero"))
	if got := r.ended(id); !got.Attempts[0].OOM {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
}
