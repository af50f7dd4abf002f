package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"crony"
)

// childEnv makes the test binary do one thing and nothing else.
const childEnv = "CRONY_AGENT_TEST_CHILD"

func TestMain(m *testing.M) {
	do, arg, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch do {
	case "": // the tests
	case "exit":
		code, _ := strconv.Atoi(arg)
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
		os.Exit(code)
	case "burn":
		for began := time.Now(); time.Since(began) < time.Second; {
		}
		os.Exit(0)
	case "await": // a file
		for {
			if _, err := os.Stat(arg); err == nil {
				os.Exit(5)
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "asked":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("asked")
		os.Exit(3)
	case "tree", "leave": // a process that starts another; their pids go into a file
		next := exec.Command(os.Args[0])
		next.Env = append(os.Environ(), childEnv+"=await nothing")
		if err := next.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if err := os.WriteFile(arg+".new", fmt.Append(nil, os.Getpid(), " ", next.Process.Pid), 0o600); err != nil {
			os.Exit(1)
		}
		if err := os.Rename(arg+".new", arg); err != nil {
			os.Exit(1)
		}
		if do == "tree" {
			time.Sleep(time.Hour)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tempDir returns a new directory. That of [testing.T.TempDir] is removed in a way that Wine does not know.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "crony-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var list []string
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
			list = append(list, path)
			return nil
		})
		for _, path := range slices.Backward(list) {
			if err := os.Remove(path); err != nil {
				t.Log(err)
			}
		}
	})
	return dir
}

// skipOnWine skips what Wine does in another way than Windows.
func skipOnWine(t *testing.T, what string) {
	t.Helper()
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Skip("not shown by Wine: ", what)
	}
}

// childJob has a job be the test binary, doing one thing.
func childJob(t *testing.T, do string) func(*crony.Job) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(j *crony.Job) {
		j.Shell.Argv, j.Shell.Env = []string{self}, map[string]string{childEnv: do}
		j.KillGrace = crony.Duration(time.Second)
	}
}

// pidsIn waits for a file, and returns the processes that it names.
func pidsIn(t *testing.T, file string) (pids []int) {
	t.Helper()
	eventually(t, "the processes to be there", func() bool { _, err := os.Stat(file); return err == nil })
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func goesOn(pid int) bool { _, err := startTicks(pid); return err == nil }

func TestRunsOnWindows(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	shell := func(s crony.Shell) func(*crony.Job) { return func(j *crony.Job) { j.Shell = &s } }
	dir := tempDir(t)
	for name, c := range map[string]struct {
		job            func(*crony.Job)
		state          crony.RunState
		reason         string // part of it
		stdout, stderr string
	}{
		"argv":        {childJob(t, "exit 0"), crony.Succeeded, "", "out\n", "err\n"},
		"exit code":   {childJob(t, "exit 7"), crony.Failed, "exit code 7", "out\n", "err\n"},
		"command":     {sh(`echo "a b" %CRONY_JOB%& exit 3`), crony.Failed, "exit code 3", "\"a b\" job\r\n", ""},
		"two lines":   {sh("echo a\necho b"), crony.Failed, "is to be a script", "", ""},
		"script":      {shell(crony.Shell{Script: "@echo off\r\necho one\r\necho two 1>&2\r\nexit 4\r\n"}), crony.Failed, "exit code 4", "one\r\n", "two \r\n"},
		"cwd":         {shell(crony.Shell{Command: "cd", Cwd: dir}), crony.Succeeded, "", dir + "\r\n", ""},
		"no cwd":      {shell(crony.Shell{Command: "cd", Cwd: `C:\no\such`}), crony.Failed, "the working directory", "", ""},
		"no program":  {shell(crony.Shell{Argv: []string{"nosuch"}}), crony.Failed, `there is no program "nosuch"`, "", ""},
		"a .cmd file": {shell(crony.Shell{Argv: []string{`C:\x.cmd`}}), crony.Failed, "started by a command line", "", ""},
		"user":        {shell(crony.Shell{Command: "cd", User: "somebody"}), crony.Failed, "as its own user only", "", ""},
		"umask":       {shell(crony.Shell{Command: "cd", Umask: "027"}), crony.Failed, "there is none on this platform", "", ""},
		"stdin":       {shell(crony.Shell{Command: "more", Stdin: "given\r\n"}), crony.Succeeded, "", "given\r\n", ""},
	} {
		id := r.start(c.job)
		got := r.ended(id)
		if got.State != c.state || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s, %q, want %s, %q", name, got.State, got.Reason, c.state, c.reason)
		}
		out, stderr := r.desk.text(t, id, crony.Stdout), r.desk.text(t, id, crony.Stderr)
		if strings.TrimRight(out, "\r\n ") != strings.TrimRight(c.stdout, "\r\n ") || strings.TrimSpace(stderr) != strings.TrimSpace(c.stderr) {
			t.Errorf("%s: %q and %q, want %q and %q", name, out, stderr, c.stdout, c.stderr)
		}
	}
	if left, err := os.ReadDir(filepath.Join(r.dir, outputDir)); err != nil || len(left) > 0 || r.journal.count() > 0 {
		t.Errorf("left behind: %v, %v, %d runs", left, err, r.journal.count())
	}
}

// A run gives back what it writes to its file.
func TestResultOnWindows(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	id := r.start(sh(`echo {"a": 1}>"%CRONY_RESULT%"`))
	if got := r.ended(id); got.State != crony.Succeeded || !strings.Contains(string(got.Result), `"a"`) {
		t.Errorf("%s, %q, result %s", got.State, got.Reason, got.Result)
	}
}

// TestKillJobObject: an end by a person ends a run's process, and what that has started.
func TestKillJobObject(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	file := filepath.Join(tempDir(t), "pids")
	id := r.start(childJob(t, "tree "+file))
	pids := pidsIn(t, file)
	for _, pid := range pids {
		if !goesOn(pid) {
			t.Errorf("process %d does not go on", pid)
		}
	}
	if !r.runner.kill(id, crony.KillOrder{By: "me"}) {
		t.Fatal("it does not go on")
	}
	if got := r.ended(id); got.State != crony.Killed {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	for _, pid := range pids {
		if goesOn(pid) {
			t.Errorf("process %d goes on", pid)
		}
	}
}

// TestLeftBehind: what the first process leaves behind is ended.
func TestLeftBehindOnWindows(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	file := filepath.Join(tempDir(t), "pids")
	got := r.ended(r.start(childJob(t, "leave "+file)))
	if got.State != crony.Succeeded || !strings.Contains(got.Reason, "a process that it left behind was ended") {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	for _, pid := range pidsIn(t, file) {
		if goesOn(pid) {
			t.Errorf("process %d goes on", pid)
		}
	}
}

// TestAsked: a run may heed that it is to end, and end by itself.
func TestAskedOnWindows(t *testing.T) {
	skipOnWine(t, "Ctrl-Break, without a console")
	r := newRig(t, tempDir(t)).begin()
	id := r.start(func(j *crony.Job) {
		childJob(t, "asked")(j)
		j.KillGrace = crony.Duration(20 * time.Second)
	})
	eventually(t, "it to be ready", func() bool { return strings.Contains(r.desk.text(t, id, crony.Stdout), "ready") })
	r.runner.kill(id, crony.KillOrder{By: "me"})
	got := r.ended(id)
	if out := r.desk.text(t, id, crony.Stdout); got.State != crony.Killed || !strings.Contains(out, "asked") {
		t.Errorf("%s, %q, said %q", got.State, got.Reason, out)
	}
}

// TestMeasured: what a run has used is known.
func TestMeasuredOnWindows(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	got := r.ended(r.start(childJob(t, "burn")))
	a := got.Attempts[0]
	t.Logf("cpu %g s, memory %d bytes, read %d, written %d", a.CPUSeconds, a.MaxRSS, a.ReadBytes, a.WriteBytes)
	if got.State != crony.Succeeded || a.CPUSeconds < 0.2 {
		t.Errorf("%s, %q, %+v", got.State, got.Reason, a)
	}
}

// TestLimits: what a job object can't be held to is said, and the kernel has the rest.
func TestLimitsOnWindows(t *testing.T) {
	r := newRig(t, tempDir(t)).begin()
	id := r.start(func(j *crony.Job) {
		childJob(t, "exit 0")(j)
		j.Shell.Limits = &crony.Limits{Memory: 512 * crony.MiB, CPU: 0.5, Pids: 3}
	})
	got := r.ended(id)
	t.Logf("%s, %q", got.State, got.Reason)
	if got.State != crony.Succeeded {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
}

const lifeEnv = "CRONY_AGENT_TEST_LIFE"

// TestLife is the agent's life before that of [TestAdopted], in a process of its own, which that one kills.
func TestLife(t *testing.T) {
	dir, do, _ := strings.Cut(os.Getenv(lifeEnv), "|")
	if dir == "" {
		t.Skip("it is part of TestAdopted")
	}
	r := newRig(t, dir)
	r.desk.closed = true
	r.begin()
	id := r.start(childJob(t, do))
	eventually(t, "the run's start to be written down", func() bool {
		recs := r.journal.records()
		return len(recs) == 1 && startedOf(recs[0].facts) != nil
	})
	if err := os.WriteFile(filepath.Join(dir, "life"), []byte(id), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
}

// earlier starts a run in an earlier life of an agent, and ends that life alone.
func earlier(t *testing.T, dir, do string) crony.RunID {
	t.Helper()
	life := exec.Command(os.Args[0], "-test.run", "^TestLife$", "-test.v")
	life.Env = append(os.Environ(), lifeEnv+"="+dir+"|"+do)
	if err := life.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		life.Process.Kill()
		life.Wait()
	}()
	var id []byte
	eventually(t, "the earlier life to have started the run", func() bool {
		id, _ = os.ReadFile(filepath.Join(dir, "life"))
		return len(id) > 0
	})
	return crony.RunID(id)
}

// TestAdopted takes up runs of an earlier life: one ends by itself, and how is known; the other is killed with what it has started.
func TestAdopted(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", kill), func(t *testing.T) {
			dir, files := tempDir(t), tempDir(t)
			file := filepath.Join(files, "file")
			do := "await " + file
			if kill {
				do = "tree " + file
			}
			id := earlier(t, dir, do)
			r := newRig(t, dir)
			r.enclosed()
			var pids []int
			if kill {
				pids = pidsIn(t, file)
			}
			r.runner.recover()
			r.begin()
			if r.runner.count() != 1 {
				t.Fatal("the run was not taken up")
			}
			if kill {
				r.runner.kill(id, crony.KillOrder{By: "me"})
			} else if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			got := r.ended(id)
			if kill && got.State != crony.Killed || !kill && (got.State != crony.Failed || got.Reason != "exit code 5") {
				t.Errorf("%s, %q", got.State, got.Reason)
			}
			for _, pid := range pids {
				if goesOn(pid) {
					t.Errorf("process %d goes on", pid)
				}
			}
		})
	}
}

// TestJobName: a job object whose name somebody else has made is not used.
func TestJobName(t *testing.T) {
	r := newRig(t, tempDir(t))
	defer r.journal.close()
	r.enclosed()
	run := crony.NewRunID(time.Now())
	c := r.runner.cgroups.make(run, 1, nil)
	defer c.remove(r.runner.log)
	other := r.runner.cgroups.make(run, 1, nil)
	if c.err != nil || !errors.Is(other.err, windows.ERROR_ALREADY_EXISTS) || other.job != 0 {
		t.Errorf("%v, then %v", c.err, other.err)
	}
}

// TestLock: a directory is one agent's.
func TestLockOnWindows(t *testing.T) {
	dir := tempDir(t)
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := lockDir(dir); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("%v, %v", again, err)
	}
	lock.Close()
	if lock, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	lock.Close()
}

// TestPrivate: files of a directory that is private are there for who made it, and for nobody else.
func TestPrivate(t *testing.T) {
	dir := filepath.Join(tempDir(t), "agent")
	if err := makePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	skipOnWine(t, "who may do what with a file")
	is, err := windows.GetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	if text := is.String(); strings.Contains(text, ";WD)") || strings.Contains(text, ";BU)") || !strings.Contains(text, "BA)") {
		t.Errorf("its rights are %s", text)
	}
}

// TestJournalAnew: a journal is written anew while it is open.
func TestJournalAnew(t *testing.T) {
	r := newRig(t, tempDir(t))
	if err := r.journal.rewrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.journal.keep(entry{Fact: &crony.Fact{Run: crony.NewRunID(time.Now()), At: time.Now(), Claimed: &crony.ClaimedFact{}}}); err != nil {
		t.Error(err)
	}
	if err := r.journal.close(); err != nil {
		t.Error(err)
	}
}
