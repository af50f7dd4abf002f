package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"crony"
)

// Limits of setrlimit(2) are a process's own, and Go sets none between fork and exec. To set them from outside, a moment later,
// takes a privilege that an agent in a container lacks, as soon as the run is another user's. So what is started for a run with
// such limits is the agent's program once more: it enters the run's cgroup, sets its own limits, takes on the run's user, and
// becomes the run's program by execve(2). It is the same process all the while, and needs nothing of what the run may have. What
// goes wrong there comes back through a pipe that closes when the program is there.

// launchWord is the argument that makes this program such a process; the next is a descriptor, of its order.
const launchWord = "launch-run"

// order is what it is to do. Texts are bytes, as they need not be UTF-8.
type order struct {
	Rlimits  []rlimit
	Switches *syscall.Credential `json:",omitempty"`
	Umask    int                 // -1: as it is
	Dir      []byte
	Program  []byte
	Argv     [][]byte
	Env      [][]byte
	Cgroup   bool // to be entered through a descriptor
}

// The descriptors after that of the order.
const (
	reportAfter = 1
	cgroupAfter = 2
)

// rlimit is one limit, as the kernel takes it.
type rlimit struct {
	Name     string
	Resource int
	Limit    unix.Rlimit
}

// rlimitsOf returns a job's limits.
func (r *runner) rlimitsOf(shell *crony.Shell) (list []rlimit, err error) {
	resources := map[string]int{"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
		"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
		"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK}
	for name, limit := range shell.Rlimits.All() {
		resource, known := resources[name]
		if !known {
			return nil, fmt.Errorf("its rlimit %s is not known to this agent", name)
		}
		n, err := limit.Value()
		if err != nil {
			return nil, fmt.Errorf("its rlimit %s: %w", name, err)
		}
		list = append(list, rlimit{name, resource, unix.Rlimit{Cur: n, Max: n}})
	}
	if len(list) > 0 && !r.launches {
		return nil, errors.New("its rlimits: this agent's program can set none")
	}
	return list, nil
}

// launch starts a command that has limits of its own; attr is how it would be started without any.
func (c *command) launch(attr *syscall.ProcAttr, in *cgroup) (pid int, err error) {
	what := order{Rlimits: c.rlimits, Switches: c.account.switches, Umask: c.umask, Dir: []byte(c.dir),
		Program: []byte(c.program), Argv: byteTexts(c.argv), Env: byteTexts(c.env), Cgroup: in != nil && in.path != ""}
	text, err := json.Marshal(what)
	if err != nil {
		return 0, fmt.Errorf("write what is to be started: %w", err)
	}
	given, err := inMemory(string(text))
	if err != nil {
		return 0, err
	}
	defer unix.Close(given) //nolint:errcheck // a file in memory
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	told := os.NewFile(uintptr(pipe[0]), "what went wrong")
	defer told.Close()
	first := len(attr.Files)
	attr.Files = append(attr.Files, uintptr(given), uintptr(pipe[1]))
	if what.Cgroup {
		fd, err := openFD(filepath.Join(in.path, "cgroup.procs"), unix.O_WRONLY)
		if err != nil {
			unix.Close(pipe[1]) //nolint:errcheck // nothing was written through it
			return 0, fmt.Errorf("enter its cgroup: %w", err)
		}
		defer unix.Close(fd) //nolint:errcheck // nothing was written through it
		attr.Files = append(attr.Files, uintptr(fd))
	}
	attr.Dir, attr.Env, attr.Sys.Credential, attr.Sys.UseCgroupFD = "", launchEnv(c.env), nil, false
	pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], launchWord, strconv.Itoa(first)}, attr)
	unix.Close(pipe[1]) //nolint:errcheck // nothing was written through it
	if err != nil {
		return 0, fmt.Errorf("start the agent's program, to set its rlimits: %w", err)
	}
	said, err := io.ReadAll(told)
	if err == nil && len(said) == 0 {
		return pid, nil
	}
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("hear whether it was started: %w", err)
	}
	return 0, c.misfortune(said)
}

func byteTexts(list []string) [][]byte {
	texts := make([][]byte, len(list))
	for i, text := range list {
		texts[i] = []byte(text)
	}
	return texts
}

// launchEnv is the environment until the program is there: what the run is known by, and nothing of the job's own, as it is not
// the run's user yet.
func launchEnv(env []string) []string {
	own := []string{"GOMAXPROCS=1"}
	for _, v := range env {
		if strings.HasPrefix(v, runEnv) || strings.HasPrefix(v, agentEnv) || strings.HasPrefix(v, "CRONY_ATTEMPT=") {
			own = append(own, v)
		}
	}
	return own
}

// mishap is what went wrong: a step, which of its kind, and the kernel's number for why.
type mishap [3]byte

// The steps.
const (
	stepOrder byte = iota
	stepCgroup
	stepRlimit
	stepStart // as the user, in the directory: what is told as of a start without limits
)

// misfortune says in words what went wrong.
func (c *command) misfortune(said []byte) error {
	var m mishap
	if copy(m[:], said) != len(m) {
		return errors.New("it was not started, and did not say why")
	}
	err := syscall.Errno(m[2])
	switch m[0] {
	case stepOrder:
		return fmt.Errorf("read what is to be started: %w", err)
	case stepCgroup:
		return fmt.Errorf("enter its cgroup: %w", err)
	case stepRlimit:
		if int(m[1]) < len(c.rlimits) {
			return c.rlimits[m[1]].explain(err)
		}
	}
	for _, l := range c.rlimits {
		if l.Resource == unix.RLIMIT_NPROC && errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("%w: user %s has more processes already than its rlimit nproc of %d", c.explain(err), c.account.name,
				l.Limit.Cur)
		}
	}
	return c.explain(err)
}

// explain says why a limit can't be set.
func (l *rlimit) explain(err error) error {
	said := strconv.FormatUint(l.Limit.Max, 10)
	if l.Limit.Max == unix.RLIM_INFINITY {
		said = string(crony.Unlimited)
	}
	failed := fmt.Errorf("set its rlimit %s to %s: %w", l.Name, said, err)
	var own unix.Rlimit
	switch asked := unix.Getrlimit(l.Resource, &own); {
	case !errors.Is(err, unix.EPERM) || asked != nil:
		return failed
	case l.Limit.Max > own.Max:
		return fmt.Errorf("%w: the agent's own hard limit is %d, and to go beyond it takes CAP_SYS_RESOURCE", failed, own.Max)
	}
	return fmt.Errorf("%w: it is more than the kernel allows (fs.nr_open)", failed)
}

// Launch makes this process the program of a run, if that is what it was started for. It is the first thing that a program does
// whose agents launch, see [Options]; it is to end at once if it was to be one, and is not.
func Launch(args []string) (failed bool) {
	if len(args) != 3 || args[1] != launchWord {
		return false
	}
	first, err := strconv.Atoi(args[2])
	if err != nil {
		return true
	}
	for i := range 3 { // there need not be a third
		unix.CloseOnExec(first + i)
	}
	m := become(first)
	unix.Write(first+reportAfter, m[:]) //nolint:errcheck // nobody hears it otherwise
	return true
}

// become does what it is ordered. It returns if something goes wrong. From where it enters the run's cgroup there need be no room
// for another thread of this program, and none comes of system calls that the scheduler is not told of.
func become(first int) mishap {
	text, err := io.ReadAll(os.NewFile(uintptr(first), "order"))
	var what order
	if err == nil {
		err = json.Unmarshal(text, &what)
	}
	if err != nil {
		return failedAt(stepOrder, 0, err)
	}
	program, argv, env, itself := string(what.Program), texts(what.Argv), texts(what.Env), []byte("0")
	dir, err := unix.BytePtrFromString(string(what.Dir))
	if err != nil {
		return failedAt(stepOrder, 0, err)
	}
	makeRoom(argv, env)
	if what.Cgroup {
		to := uintptr(first + cgroupAfter)
		if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, to, uintptr(unsafe.Pointer(&itself[0])), 1); errno != 0 {
			return failedAt(stepCgroup, 0, errno)
		}
	}
	if s := what.Switches; s != nil {
		groups := make([]int, len(s.Groups))
		for i, g := range s.Groups {
			groups[i] = int(g)
		}
		if err = syscall.Setgroups(groups); err == nil {
			err = syscall.Setresgid(int(s.Gid), int(s.Gid), int(s.Gid))
		}
		if err != nil {
			return failedAt(stepStart, 0, err)
		}
	}
	for i := range what.Rlimits {
		if err := unix.Prlimit(0, what.Rlimits[i].Resource, &what.Rlimits[i].Limit, nil); err != nil {
			return failedAt(stepRlimit, byte(i), err)
		}
	}
	if s := what.Switches; s != nil {
		if err := syscall.Setresuid(int(s.Uid), int(s.Uid), int(s.Uid)); err != nil {
			return failedAt(stepStart, 0, err)
		}
	}
	if len(what.Dir) > 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(dir)), 0, 0); errno != 0 {
			return failedAt(stepStart, 0, errno)
		}
	}
	if what.Umask >= 0 {
		syscall.Umask(what.Umask)
	}
	return failedAt(stepStart, 0, syscall.Exec(program, argv, env))
}

// makeRoom has as much memory free as the exec of a command takes: once its limits are set there may be no more to be had. From
// then on nothing is collected.
func makeRoom(lists ...[]string) {
	for _, list := range lists {
		for range 2 {
			syscall.SlicePtrFromStrings(list) //nolint:errcheck // it is the size that counts
		}
	}
	runtime.GC()
	debug.SetGCPercent(-1)
}

func texts(list [][]byte) []string {
	all := make([]string, len(list))
	for i, text := range list {
		all[i] = string(text)
	}
	return all
}

func failedAt(step, which byte, err error) mishap {
	errno := syscall.EINVAL
	errors.As(err, &errno)
	return mishap{step, which, byte(errno)}
}
