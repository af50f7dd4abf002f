//go:build linux

package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"crony"
)

// survivors returns the processes that go on of a run: those that have its id in their environment, and those in its cgroup.
func (r *rig) survivors(id crony.RunID) (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && isThere(pid) && slices.Contains(strings.Split(string(env), "\x00"), runEnv+string(id)) {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			list = append(list, strconv.Itoa(pid)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	if g := r.runner.cgroups; g != nil {
		for _, pid := range (&cgroup{path: g.pathOf(id, 1)}).processes() {
			list = append(list, strconv.Itoa(pid)+" in the cgroup")
		}
	}
	return list
}

// TestZoo has processes of all kinds, with cgroups and without, and with limits of their own: none outlives its run, and none keeps
// one alive.
func TestZoo(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	const forever = "sleep 987"
	zoo := map[string]struct {
		command string
		argv    []string
		up      bool // it says "up", and is killed then; else it ends by itself
		state   crony.RunState
		reason  string // a part of it
		stdout  string // "" for any
	}{
		"daemon, by two forks":      {command: "(setsid sh -c '" + forever + " & " + forever + " & exit' &) ; sleep 0.2", state: crony.Succeeded, reason: "left behind were ended"},
		"daemon without an environ": {command: "setsid env -i sleep 987 & sleep 0.2; echo up; wait", up: true},
		"setsid":                    {command: "setsid setsid sh -c '" + forever + "' & sleep 0.2; echo up; " + forever, up: true},
		"heeds no TERM":             {command: "trap '' TERM; setsid sh -c \"trap '' TERM; echo up; while :; do sleep 1; done\"", up: true},
		"stopped":                   {command: "sh -c 'kill -STOP $$' & sleep 0.2; echo up; wait", up: true},
		"stopped itself":            {command: "echo up; kill -STOP $$", up: true},
		"stopped, and left":         {command: "setsid sh -c 'kill -STOP $$' & sleep 0.2", state: crony.Succeeded, reason: "a process that it left behind was ended"},
		"storm":                     {command: "for i in $(seq 50); do (" + forever + "; " + forever + ") & done; echo up; wait", up: true},
		"storm that goes on":        {command: "echo up; while :; do sleep 987 & sleep 0.02; done", up: true},
		"kept pipe":                 {command: forever + " 2>&1 | cat & echo kept", state: crony.Succeeded, reason: "2 processes that it left behind", stdout: "kept\n"},
		"closed outputs":            {command: "echo before; exec >&- 2>&-; echo after || exit 7", state: crony.Failed, reason: "exit code 7", stdout: "before\n"},
		"a long line":               {command: "head -c 3000000 /dev/zero | tr '\\0' x", state: crony.Succeeded, stdout: strings.Repeat("x", 3_000_000)},
		"no newline":                {command: "printf 'no newline'", state: crony.Succeeded, stdout: "no newline"},
		"no UTF-8":                  {argv: []string{"printf", "%s", "\xff\xfe\xe4"}, state: crony.Succeeded, stdout: "\xff\xfe\xe4"},
		"no such program":           {argv: []string{missing}, state: crony.Failed, reason: missing + ": no such file"},
		"exec of what is not there": {command: "exec " + missing, state: crony.Failed, reason: "exit code 127"},
		"no such interpreter":       {argv: []string{script}, state: crony.Failed, reason: script + ": no such file"},
		"100,000 arguments":         {argv: append([]string{"sh", "-c", "echo $#", "sh"}, make([]string, 100_000)...), state: crony.Succeeded, stdout: "100000\n"},
		"too many arguments":        {argv: []string{"echo", strings.Repeat("x", 1<<20)}, state: crony.Failed, reason: "2 arguments and its environment are more than this host takes"},
	}
	for _, how := range []struct {
		enclosed bool
		limits   *crony.Rlimits
	}{{true, nil}, {false, nil}, {true, &crony.Rlimits{Core: "0"}}} {
		r, enclosed := newRig(t, t.TempDir()), how.enclosed
		if enclosed {
			r.begin()
		} else {
			r.beginBare()
		}
		ids := map[string]crony.RunID{}
		for name, c := range zoo {
			ids[name] = r.start(func(j *crony.Job) {
				j.Shell = &crony.Shell{Command: c.command, Argv: c.argv, Rlimits: how.limits}
				j.KillGrace = crony.Duration(300 * time.Millisecond)
			})
		}
		for name, c := range zoo {
			id := ids[name]
			if c.up {
				eventually(t, name+" to be up", func() bool { return r.desk.text(t, id, crony.Stdout) == "up\n" })
				if len(r.survivors(id)) == 0 {
					t.Errorf("%s: nothing is there before it is killed", name)
				}
				r.runner.kill(id, crony.KillOrder{By: "eve"})
				c.state, c.reason = crony.Killed, "killed by eve"
			}
			got := r.ended(id)
			if got.State != c.state || !strings.Contains(got.Reason, c.reason) || !enclosed && len(got.Attempts) == 1 && c.up && got.Attempts[0].Signal == "" {
				t.Errorf("%s, in a cgroup: %t: %s, %.300q, %+v", name, enclosed, got.State, got.Reason, got.Attempts)
			}
			if out := r.desk.text(t, id, crony.Stdout); c.stdout != "" && out != c.stdout {
				t.Errorf("%s, in a cgroup: %t: %.100q", name, enclosed, out)
			}
			if left := r.survivors(id); len(left) > 0 {
				t.Errorf("%s, in a cgroup: %t: left are %v", name, enclosed, left)
			}
		}
		r.stop()
		if n := r.files(); n > 0 {
			t.Errorf("%d files are left", n)
		}
		if r.runner.cgroups == nil {
			continue
		}
		if entries, err := filepath.Glob(filepath.Join(r.runner.cgroups.dir, "*", "cgroup.procs")); err != nil || len(entries) > 0 {
			t.Errorf("cgroups are left: %v, %v", entries, err)
		}
	}
}

// beginBare is begin where there are no cgroups.
func (r *rig) beginBare() *rig {
	r.bare = true
	if err := adoptOrphans(); err != nil {
		r.t.Fatal(err)
	}
	return r.begin()
}

// TestMuchOutput keeps 10 GB, or one where that takes long, within its bound while they are written.
func TestMuchOutput(t *testing.T) {
	const limit = 1 << 20
	total := int64(10) << 30
	if testing.Short() || raced {
		total = 1 << 30
	}
	r := newRig(t, t.TempDir()).begin()
	id := r.start(func(j *crony.Job) {
		j.Shell = &crony.Shell{Command: fmt.Sprintf("head -c %d /dev/zero", total), Limits: &crony.Limits{Output: limit}}
	})
	var most int64
	for began := time.Now(); r.desk.run(id).EndedAt.IsZero() && time.Since(began) < 2*time.Minute; time.Sleep(5 * time.Millisecond) {
		o := &output{path: outputPath(r.dir, id, 1, "stdout")}
		o.size()
		most = max(most, o.disk)
	}
	got := r.ended(id)
	if got.State != crony.Succeeded || got.Attempts[0].StdoutBytes != total {
		t.Errorf("%s, %q, %d bytes", got.State, got.Reason, got.Attempts[0].StdoutBytes)
	}
	if left := r.survivors(id); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if most > total/2 {
		t.Errorf("it took %d bytes of the disk", most)
	}
	t.Logf("%d MB of the disk at most", most>>20)
}

// TestReap takes away orphans that the agent has adopted, and leaves its own children to who waits for them.
func TestReap(t *testing.T) {
	r := newRig(t, t.TempDir()).beginBare()
	var ids []crony.RunID
	for range 20 {
		ids = append(ids, r.start(sh("(sleep 0.1 &) ; exit 3")))
	}
	seen := map[int]bool{}
	for _, id := range ids {
		seen = r.runner.children.reapSeen(seen)
		if got := r.ended(id); got.State != crony.Failed || !strings.HasPrefix(got.Reason, "exit code 3") {
			t.Errorf("%s, %s", got.State, got.Reason)
		}
	}
	orphans := func() (n int) {
		for _, pid := range zombies(os.Getpid()) {
			if r.runner.children.adopted(pid) {
				n++
			}
		}
		return n
	}
	before := orphans()
	eventually(t, "the orphans to be taken away", func() bool {
		seen = r.runner.children.reapSeen(seen)
		return orphans() == 0
	})
	t.Logf("%d orphans", before)
}
