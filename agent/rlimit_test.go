//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"crony"
)

// limitsHere are the limits of a process, as the kernel tells them.
func limitsHere(t *testing.T, pid string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fits says whether a text is of a form in which … stands for anything.
func fits(text, form string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(form), "…", ".*") + "$").MatchString(text)
}

// TestRlimits has processes tell what they are held to, and what becomes of those who go beyond.
func TestRlimits(t *testing.T) {
	t.Parallel()
	own := limitsHere(t, "self")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	const tell = `ulimit -Sn; ulimit -Hn`
	for name, c := range map[string]struct {
		shell  crony.Shell
		limits crony.Rlimits
		state  crony.RunState
		reason string // … stands for anything
		stdout string
	}{
		"number":    {crony.Shell{Command: tell}, crony.Rlimits{NoFile: "123"}, crony.Succeeded, "", "123\n123\n"},
		"of argv":   {crony.Shell{Argv: []string{"sh", "-c", tell}}, crony.Rlimits{NoFile: "123"}, crony.Succeeded, "", "123\n123\n"},
		"of script": {crony.Shell{Script: tell}, crony.Rlimits{NoFile: "123"}, crony.Succeeded, "", "123\n123\n"},
		"size":      {crony.Shell{Command: "ulimit -Sf; ulimit -Hf"}, crony.Rlimits{FSize: "3MiB"}, crony.Succeeded, "", "6144\n6144\n"}, // 512 bytes each
		"nothing":   {crony.Shell{Command: "ulimit -Sc; ulimit -Hc"}, crony.Rlimits{Core: "0"}, crony.Succeeded, "", "0\n0\n"},
		"unlimited": {crony.Shell{Command: "ulimit -Sd; ulimit -Hd"}, crony.Rlimits{Data: "unlimited"}, crony.Succeeded, "", "unlimited\nunlimited\n"},
		"stack":     {crony.Shell{Command: "ulimit -s"}, crony.Rlimits{Stack: "1GiB"}, crony.Succeeded, "", "1048576\n"},
		"every one": {crony.Shell{Argv: []string{"cat", "/proc/self/limits"}}, crony.Rlimits{AS: "4GiB", Core: "0", CPU: "600", Data: "1GiB", FSize: "1GiB",
			Memlock: "65536", MsgQueue: "1024", Nice: "0", NoFile: "99", NProc: "5000", RTPrio: "0", RTTime: "1000000", SigPending: "77",
			Stack: "4MiB"}, crony.Succeeded, "", ""},

		"another user":      {crony.Shell{Command: tell + "; id -un", User: "nobody"}, crony.Rlimits{NoFile: "45"}, crony.Succeeded, "", "45\n45\nnobody\n"},
		"script of another": {crony.Shell{Script: "ulimit -n; id -un; umask", User: "nobody", Umask: "077"}, crony.Rlimits{NoFile: "46"}, crony.Succeeded, "", "46\nnobody\n0077\n"},
		"all the rest": {crony.Shell{Command: "ulimit -n; pwd; umask; cat; echo $A $LD_PRELOAD; echo out >>/dev/stdout", Cwd: dir, Umask: "027", Stdin: "in\n",
			Env: map[string]string{"A": "b", "GODEBUG": "x=y"}}, crony.Rlimits{NoFile: "47"}, crony.Succeeded, "", "47\n" + dir + "\n0027\nin\nb\nout\n"},
		"no UTF-8": {crony.Shell{Argv: []string{"printf", "%s", "\xff\xfe"}}, crony.Rlimits{NoFile: "48"}, crony.Succeeded, "", "\xff\xfe"},

		"file too large":      {crony.Shell{Argv: []string{"dd", "if=/dev/zero", "of=" + dir + "/large", "bs=1k", "count=2000"}}, crony.Rlimits{FSize: "1MiB"}, crony.Failed, "ended by SIGXFSZ: it wrote more into a file than its rlimit fsize of 1MiB", ""},
		"of a child":          {crony.Shell{Command: "dd if=/dev/zero of=" + dir + "/larger bs=1k count=2000; exit $?"}, crony.Rlimits{FSize: "1MiB"}, crony.Failed, "exit code 153, as after SIGXFSZ: it wrote more into a file than its rlimit fsize of 1MiB", ""},
		"too much of the CPU": {crony.Shell{Command: "while :; do :; done"}, crony.Rlimits{CPU: "1"}, crony.Failed, "ended by SIGKILL: it had … s of the CPU, and its rlimit cpu is 1", ""},
		"a like exit code":    {crony.Shell{Command: "exit 153"}, crony.Rlimits{NoFile: "50"}, crony.Failed, "exit code 153", ""},

		"no such program":                {crony.Shell{Argv: []string{missing}}, crony.Rlimits{NoFile: "49"}, crony.Failed, "start the run: fork/exec " + missing + ": no such file or directory", ""},
		"no such directory for its user": {crony.Shell{Command: "pwd", Cwd: closed, User: "nobody"}, crony.Rlimits{NoFile: "49"}, crony.Failed, "…user nobody may not run it, or not in " + closed, ""},
		"too many arguments":             {crony.Shell{Argv: []string{"echo", strings.Repeat("x", 1<<20)}}, crony.Rlimits{NoFile: "49"}, crony.Failed, "…2 arguments and its environment are more than this host takes", ""},
		"100,000 arguments":              {crony.Shell{Argv: append([]string{"sh", "-c", "echo $#", "sh"}, make([]string, 100_000)...)}, crony.Rlimits{NoFile: "49"}, crony.Succeeded, "", "100000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.shell.User != "" && os.Geteuid() != 0 {
				t.Skip("only root starts processes of others")
			}
			for _, enclosed := range []bool{true, false} {
				r := newRig(t, t.TempDir())
				if r.bare = !enclosed; r.bare {
					r.beginBare()
				} else {
					r.begin()
				}
				id := r.start(func(j *crony.Job) { j.Shell = &c.shell; j.Shell.Rlimits = &c.limits })
				got := r.ended(id)
				if got.State != c.state || !fits(got.Reason, c.reason) {
					t.Errorf("in a cgroup: %t: %s, %q, want %q; %s", enclosed, got.State, got.Reason, c.reason, r.desk.text(t, id, crony.Stderr))
				}
				if out := r.desk.text(t, id, crony.Stdout); c.stdout != "" && out != c.stdout {
					t.Errorf("in a cgroup: %t: %.300q, want %q", enclosed, out, c.stdout)
				} else if name == "every one" {
					compareLimits(t, out)
				}
				if left := r.survivors(id); len(left) > 0 {
					t.Errorf("left are %v", left)
				}
			}
		})
	}
	if now := limitsHere(t, "self"); now != own {
		t.Errorf("the agent's own limits were\n%sand are\n%s", own, now)
	}
}

// compareLimits holds what /proc says of a process against what every limit was set to.
func compareLimits(t *testing.T, text string) {
	t.Helper()
	for name, want := range map[string]string{"Max cpu time": "600", "Max file size": "1073741824", "Max data size": "1073741824",
		"Max stack size": "4194304", "Max core file size": "0", "Max processes": "5000", "Max open files": "99",
		"Max locked memory": "65536", "Max address space": "4294967296", "Max pending signals": "77", "Max msgqueue size": "1024",
		"Max nice priority": "0", "Max realtime priority": "0", "Max realtime timeout": "1000000"} {
		found := false
		for line := range strings.Lines(text) {
			if rest, is := strings.CutPrefix(line, name); is {
				fields := strings.Fields(rest)
				found = len(fields) >= 2 && fields[0] == want && fields[1] == want
			}
		}
		if !found {
			t.Errorf("%s is not %s in\n%s", name, want, text)
		}
	}
}

// TestRlimitsAlone has a run with one limit be as one without any in all else: its other limits, its files, what it heeds.
func TestRlimitsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	const tell = `cat /proc/self/limits | grep -v core; ls -l /proc/self/fd | sed 's/.* \([0-9]* ->\).*/\1/' ; grep -E '^(Sig[PBIC]|Shd|Uid|Gid|Groups|Cap|NoNew|Umask|Threads)' /proc/self/status; env | sed 's/=.*//' | sort
sed -n 's/.*) //p' /proc/$$/stat | cut -d' ' -f3-6 | tr ' ' '\n' | sed "s/^$$\$/own/"; sed 's/.*crony-test-[0-9a-f]*.//; s/[0-9A-Z]\{26\}//' /proc/self/cgroup; pwd`
	for _, user := range []string{"", "nobody"} {
		if user != "" && os.Geteuid() != 0 {
			continue
		}
		told := map[bool]string{}
		for _, limited := range []bool{true, false} {
			id := r.start(func(j *crony.Job) {
				j.Shell = &crony.Shell{Command: tell, User: user}
				if limited {
					j.Shell.Rlimits = &crony.Rlimits{Core: "0"}
				}
			})
			if got := r.ended(id); got.State != crony.Succeeded {
				t.Errorf("%s, %q", got.State, got.Reason)
			}
			told[limited] = r.desk.text(t, id, crony.Stdout) + r.desk.text(t, id, crony.Stderr)
		}
		if diff := cmp.Diff(told[false], told[true]); diff != "" || !strings.Contains(told[true], "Max open files") {
			t.Errorf("as %q, without limits (-) and with one (+):\n%s", user, diff)
		}
	}
}

// TestRlimitsTogether starts runs with different limits, and with none, at the same time.
func TestRlimitsTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	without := r.start(sh("ulimit -n"))
	r.ended(without)
	plain := r.desk.text(t, without, crony.Stdout)
	want := map[crony.RunID]string{}
	for i := range 40 {
		n := ""
		if i%4 != 0 {
			n = strconv.Itoa(100 + i)
		}
		id := r.start(func(j *crony.Job) {
			sh("ulimit -n")(j)
			if n != "" {
				j.Shell.Rlimits = &crony.Rlimits{NoFile: crony.Rlimit(n)}
			}
		})
		if want[id] = plain; n != "" {
			want[id] = n + "\n"
		}
	}
	for id, text := range want {
		if got := r.ended(id); got.State != crony.Succeeded || r.desk.text(t, id, crony.Stdout) != text {
			t.Errorf("%s, %q: %q, want %q", got.State, got.Reason, r.desk.text(t, id, crony.Stdout), text)
		}
	}
}

// TestRlimitTooHigh: what the agent may not set fails the attempt, and nothing is left of it.
func TestRlimitTooHigh(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	tooHigh, want := strconv.FormatUint(1<<30, 10), "the agent's own hard limit is "+strconv.FormatUint(own.Max, 10)+", and to go beyond it takes CAP_SYS_RESOURCE"
	if own.Max >= 1<<30 {
		t.Skip("there is nothing that is too high")
	}
	id := r.start(func(j *crony.Job) {
		sh("echo up")(j)
		j.Shell.Rlimits = &crony.Rlimits{Core: "0", NoFile: crony.Rlimit(tooHigh)}
	})
	got := r.ended(id)
	if got.State != crony.Failed || !strings.HasPrefix(got.Reason, "start the run: set its rlimit nofile to 1073741824: operation not permitted: ") ||
		!strings.HasSuffix(got.Reason, want) && !strings.HasSuffix(got.Reason, "(fs.nr_open)") {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	t.Log(got.Reason)
	if left := r.survivors(id); len(left) > 0 || len(got.Attempts) > 0 {
		t.Errorf("left are %v, %+v", left, got.Attempts)
	}
	r.runner.launches = false
	if got := r.ended(r.start(func(j *crony.Job) { sh("true")(j); j.Shell.Rlimits = &crony.Rlimits{Core: "0"} })); got.State != crony.Failed ||
		got.Reason != "start the run: its rlimits: this agent's program can set none" {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
}

// TestRlimitsTight sets limits that the agent's program itself could not live by.
func TestRlimitsTight(t *testing.T) {
	t.Parallel()
	if raced {
		t.Skip("the race detector takes all addresses there are")
	}
	r := newRig(t, t.TempDir()).begin()
	args := append([]string{"sh", "-c", "ulimit -v; echo $#", "sh"}, make([]string, 100_000)...)
	for i := range 20 {
		id := r.start(func(j *crony.Job) {
			j.Shell = &crony.Shell{Argv: args, Rlimits: &crony.Rlimits{AS: "64MiB", Data: "32MiB", NProc: "20000", NoFile: "4", FSize: "4096"}}
		})
		if got, out := r.ended(id), r.desk.text(t, id, crony.Stdout); got.State != crony.Succeeded || out != "65536\n100000\n" {
			t.Fatalf("%d: %s, %q: %q, %q", i, got.State, got.Reason, out, r.desk.text(t, id, crony.Stderr))
		}
	}
}

// TestRlimitsKnownLater has an agent begin anew under a run that then goes beyond its limit.
func TestRlimitsKnownLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "large")
	r := newRig(t, dir).beginToLeave()
	id := r.start(func(j *crony.Job) {
		sh("sleep 0.3; exec dd if=/dev/zero bs=1k count=2000 of=" + file)(j)
		j.Shell.Rlimits = &crony.Rlimits{FSize: "1MiB"}
	})
	r.begun(id)
	r.leaves()
	next := newRig(t, dir)
	next.runner.recover()
	next.begin()
	if got := next.ended(id); got.Reason != "ended by SIGXFSZ: it wrote more into a file than its rlimit fsize of 1MiB" {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
}

// BenchmarkRlimits is what limits add to a start.
func BenchmarkRlimits(b *testing.B) {
	for name, limits := range map[string]*crony.Rlimits{"without": nil, "with": {NoFile: "100"}} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, b.TempDir()).begin()
			var took time.Duration
			for b.Loop() {
				id := r.start(func(j *crony.Job) { sh("true")(j); j.Shell.Rlimits = limits })
				run := r.ended(id)
				took += run.EndedAt.Sub(run.StartedAt)
			}
			b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/run")
			b.ReportMetric(0, "ns/op")
		})
	}
}
