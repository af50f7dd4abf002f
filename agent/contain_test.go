//go:build linux

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

// strayIn starts a process in a cgroup that is no child of a run of this life.
func strayIn(t *testing.T, c *cgroup) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 987")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	done, err := c.enter(cmd.SysProcAttr)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	go cmd.Wait()
	return cmd
}

// TestRecoverCgroup takes up a run whose leader has ended while no agent was there, and the cgroups of others.
func TestRecoverCgroup(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir())
	r.enclosed()
	g := r.runner.cgroups
	if g == nil {
		t.Skip("this host has no cgroups for it")
	}
	mine, ahead, unknown := crony.NewRunID(noon), crony.NewRunID(noon), crony.NewRunID(noon)
	c := g.make(mine, 1, nil)
	strayIn(t, c)
	eventually(t, "it to have worked", func() bool { return c.figures("cpu.stat")["usage_usec"] > 0 })
	g.make(ahead, 1, nil)
	stray := g.make(unknown, 1, nil)
	left := strayIn(t, stray)

	if err := os.WriteFile(outputPath(r.dir, mine, 1, "stdout"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, r.journal, claimedBy(mine), entry{Birth: &birth{boot, 1}, Held: &held{Cgroup: c.path, Unheld: []string{"pids"}},
		Fact: &crony.Fact{Run: mine, At: noon, Started: &crony.StartedFact{Attempt: 1, PID: 1 << 22}}})
	if err := r.journal.rewrite(); err != nil { // it is in what the journal keeps
		t.Fatal(err)
	}
	r.runner.recover()
	r.begin()
	got := r.ended(mine)
	if got.State != crony.Lost || !strings.Contains(got.Reason, "a process that it left behind was ended; it was not held to its limits of pids") {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	if a := got.Attempts[0]; a.CPUSeconds == 0 {
		t.Errorf("measured: %+v", a)
	}
	if n := stray.count(); n != 1 {
		t.Errorf("%d processes of what nobody knows", n)
	}
	if _, err := os.Stat(g.pathOf(ahead, 1)); err == nil {
		t.Error("a cgroup that was made ahead in an earlier life is left")
	}
	eventually(t, "the run's cgroup to be removed", func() bool { return !isCgroup(c.path) })
	left.Process.Kill()
	eventually(t, "the other to be removed", func() bool { return stray.count() == 0 })
	g.sweep(r.journal.goesOn)
	if isCgroup(stray.path) {
		t.Error("an empty cgroup of nobody's is left")
	}
}

// TestUnheld has a run say to which of its limits it was not held.
func TestUnheld(t *testing.T) {
	r := newRig(t, t.TempDir()).beginBare()
	got := r.ended(r.start(func(j *crony.Job) {
		j.Shell = &crony.Shell{Command: "true", Limits: &crony.Limits{Memory: crony.GiB, CPU: 1.5, Output: crony.MiB}}
	}))
	if want := "it was not held to its limits of memory, cpu, for which its agent has no cgroup controllers"; got.State != crony.Succeeded || got.Reason != want {
		t.Errorf("%s, %q, want %q", got.State, got.Reason, want)
	}
}

// TestNoCgroups says why there are none.
func TestNoCgroups(t *testing.T) {
	log := newRig(t, t.TempDir()).runner.log
	plain := t.TempDir()
	for _, parent := range []string{plain, filepath.Join(plain, "file"), "/proc/no-such"} {
		os.WriteFile(filepath.Join(plain, "file"), nil, 0o600)
		if g, err := openCgroups(parent, "crony-test", log); err == nil {
			t.Errorf("cgroups in %s: %+v", parent, g)
		}
	}
	if left, err := os.ReadDir(plain); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestMeasure adds up what the kernel says.
func TestMeasure(t *testing.T) {
	c := &cgroup{path: t.TempDir()}
	for file, text := range map[string]string{
		"cpu.stat": "usage_usec 1500000\nuser_usec 1\n", "memory.peak": "4096\n", "memory.max": "8192\n",
		"io.stat":       "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 \n253:0 rbytes=1 wbytes=2\n",
		"memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n",
	} {
		writeTo(t, filepath.Join(c.path, file), text)
	}
	got := crony.ExitedFact{CPUSeconds: 1, MaxRSS: 1}
	c.measure(&got)
	if got != (crony.ExitedFact{OOM: true, CPUSeconds: 1.5, MaxRSS: 4096, ReadBytes: 11, WriteBytes: 22}) || c.memoryLimit() != 8192 {
		t.Errorf("%+v, %d", got, c.memoryLimit())
	}
	known := crony.ExitedFact{CPUSeconds: 1, MaxRSS: 1, ReadBytes: 1, WriteBytes: 1}
	got, none := known, &cgroup{path: t.TempDir()}
	none.measure(&got)
	if got != known || none.memoryLimit() != 0 {
		t.Errorf("of what the kernel does not tell, %+v, %d", got, none.memoryLimit())
	}
	writeTo(t, filepath.Join(c.path, "memory.max"), "max\n")
	if c.memoryLimit() != 0 {
		t.Errorf("no limit is %d", c.memoryLimit())
	}
}

// TestEndTree gives up on what can't be killed.
func TestEndTree(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, _ *loopRig) {
		tree := &undying{}
		began := time.Now()
		found, left := endTree(tree, 3*time.Second)
		if took := time.Since(began); found != 1 || left != 1 || took < 13*time.Second || took > 14*time.Second {
			t.Errorf("found %d, left %d, after %s", found, left, took)
		}
		if tree.terms != 1 || tree.kills < 2 {
			t.Errorf("%+v", tree)
		}
	})
}

// undying is a process that waits for a disk in vain.
type undying struct{ terms, kills int }

func (u *undying) count() int { return 1 }
func (u *undying) term()      { u.terms++ }
func (u *undying) kill()      { u.kills++ }

func FuzzControlFiles(f *testing.F) {
	f.Add([]byte("usage_usec 1500000\nuser_usec 1\n"))
	f.Add([]byte("8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name := range parseFigures(data) {
			if strings.ContainsAny(name, " \n") {
				t.Errorf("a figure named %q", name)
			}
		}
		sumIO(data)
	})
}
