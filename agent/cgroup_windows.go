package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"crony"
)

// cgroup is what holds the processes of one attempt, here a job object: none can leave it, so that it is known exactly what an
// attempt has left behind, and all of it can be ended at once. It is remembered by its name, in the journal too.
//
// The name of a job object is only good while somebody has it open. So the attempt's first process is given a handle, which
// can't be used for anything, and by the name the next life of the agent finds what an attempt goes on in whose first process
// does. The job object does not end its processes when the agent's handle is closed: they are to outlive the agent.
type cgroup struct {
	path   string   // its name; "": there is none
	unheld []string // limits that the attempt is not held to, though its job asks for them

	job    windows.Handle // 0: there is none
	leader int            // the pid of the first process, and its console's group; 0 if that may be another's
	err    error          // why there is none
}

// cgroups makes job objects.
type cgroups struct {
	dir string // what their names begin with
	log *slog.Logger
}

// hasCgroups says that a configuration may name one.
const hasCgroups = false

// What is said of what holds runs.
const (
	runsHave  = "runs have job objects"
	whyUnheld = "which Windows has refused"
)

// lacks is what this platform has not of what jobs may ask for.
func lacks() []string {
	return []string{
		"runs are of the agent's own user: jobs with another are not for it",
		"there is no umask: jobs with one are not for it",
		"rlimits are not supported yet: jobs with them are not for it",
		"a run is asked to end by Ctrl-Break on the agent's console: one without that console, or of an earlier life, is ended " +
			"after its grace",
		"what a run has left behind goes on, and is not found, if its first process ends while no agent runs",
		"of long outputs, what is delivered stays on the disk until the run has ended",
		"a new configuration or program takes a restart of the agent",
	}
}

func openCgroups(_, name string, log *slog.Logger) (*cgroups, error) {
	return &cgroups{dir: `Global\` + name + "-", log: log}, nil
}

func (g *cgroups) pathOf(run crony.RunID, attempt int) string {
	return g.dir + string(run) + "." + strconv.Itoa(attempt)
}

func (*cgroups) lacking() []string            { return nil }
func (*cgroups) sweep(func(crony.RunID) bool) {}
func (*cgroups) close() error                 { return nil }

// make makes the job object of an attempt, with its limits. Without one the attempt does not start.
func (g *cgroups) make(run crony.RunID, attempt int, limits *crony.Limits) *cgroup {
	c := &cgroup{path: g.pathOf(run, attempt)}
	name, err := windows.UTF16PtrFromString(c.path)
	if err == nil {
		if other, there := openJob(c.path); there == nil { // nobody is to choose what a run is held in
			windows.CloseHandle(other) //nolint:errcheck // only looked at
			err = windows.ERROR_ALREADY_EXISTS
		}
	}
	if err == nil {
		c.job, err = windows.CreateJobObject(nil, name)
	}
	if err != nil {
		c.path, c.err = "", fmt.Errorf("make its job object: %w", err)
		return c
	}
	if limits != nil {
		c.hold(limits, run, g.log)
	}
	return c
}

// cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION: in ten thousandths of all CPUs.
type cpuRate struct{ flags, rate uint32 }

// hold sets limits.
func (c *cgroup) hold(l *crony.Limits, run crony.RunID, log *slog.Logger) {
	refused := func(limit string, err error) {
		if err != nil {
			log.Warn("limit of a run not set", "run", run, "limit", limit, "err", err)
			c.unheld = append(c.unheld, limit)
		}
	}
	var most windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if l.Memory > 0 {
		most.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		most.JobMemoryLimit = uintptr(l.Memory)
		refused("memory", c.set(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&most), unsafe.Sizeof(most)))
	}
	if l.CPU > 0 {
		const enable, hardCap, whole = 0x1, 0x4, 10_000 // JOB_OBJECT_CPU_RATE_CONTROL_…
		rate := cpuRate{enable | hardCap, uint32(min(whole, max(1, math.Round(l.CPU*whole/float64(runtime.NumCPU())))))}
		refused("cpu", c.set(windows.JobObjectCpuRateControlInformation, unsafe.Pointer(&rate), unsafe.Sizeof(rate)))
	}
	if l.Pids > 0 {
		most.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		most.BasicLimitInformation.ActiveProcessLimit = uint32(l.Pids)
		refused("pids", c.set(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&most), unsafe.Sizeof(most)))
	}
}

func (c *cgroup) set(class uint32, info unsafe.Pointer, size uintptr) error {
	_, err := windows.SetInformationJobObject(c.job, class, uintptr(info), uint32(size))
	return err
}

// ask has the kernel tell of the job object, and says whether it did.
func (c *cgroup) ask(class int32, info unsafe.Pointer, size uintptr) bool {
	if c.job == 0 {
		return false
	}
	err := windows.QueryInformationJobObject(c.job, class, uintptr(info), uint32(size), nil)
	return err == nil || errors.Is(err, windows.ERROR_MORE_DATA)
}

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION; times are in units of 100 ns.
type accounting struct {
	userTime, kernelTime, periodUser, periodKernel int64
	faults, processes, active, terminated          uint32
}

func (c *cgroup) accounting() (a accounting, ok bool) {
	const class = 1 // JobObjectBasicAccountingInformation
	ok = c.ask(class, unsafe.Pointer(&a), unsafe.Sizeof(a))
	return a, ok
}

// count implements [tree]. Without a job object only the first process is known.
func (c *cgroup) count() int {
	if a, ok := c.accounting(); ok {
		return int(a.active)
	}
	if c.leader != 0 {
		if _, err := startTicks(c.leader); err == nil {
			return 1
		}
	}
	return 0
}

// term implements [tree]. Who does not share the agent's console is not reached, and ended after the grace.
func (c *cgroup) term() {
	if c.leader != 0 { // 0 would be the agent itself
		windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(c.leader)) //nolint:errcheck // see above
	}
}

// kill implements [tree].
func (c *cgroup) kill() {
	if c.job != 0 {
		windows.TerminateJobObject(c.job, 1) //nolint:errcheck // who looks whether anything is left finds out
		return
	}
	process, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, uint32(c.leader))
	if err != nil {
		return
	}
	defer windows.CloseHandle(process)   //nolint:errcheck // only used
	windows.TerminateProcess(process, 1) //nolint:errcheck // as above
}

// processes returns those of the job object, as many as one question tells.
func (c *cgroup) processes() (pids []int) {
	const class = 3 // JobObjectBasicProcessIdList
	var list struct {
		assigned, listed uint32
		pids             [1024]uintptr
	}
	if !c.ask(class, unsafe.Pointer(&list), unsafe.Sizeof(list)) {
		return nil
	}
	for _, pid := range list.pids[:min(int(list.listed), len(list.pids))] {
		pids = append(pids, int(pid))
	}
	return pids
}

// measure writes down what the whole attempt has used.
func (c *cgroup) measure(x *crony.ExitedFact) {
	if a, ok := c.accounting(); ok {
		x.CPUSeconds = max(x.CPUSeconds, (time.Duration(a.userTime+a.kernelTime) * 100).Seconds())
	}
	const class = 8 // JobObjectBasicAndIoAccountingInformation
	var more struct {
		accounting
		io windows.IO_COUNTERS
	}
	if c.ask(class, unsafe.Pointer(&more), unsafe.Sizeof(more)) {
		x.ReadBytes, x.WriteBytes = int64(more.io.ReadTransferCount), int64(more.io.WriteTransferCount)
	}
	var most windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if c.ask(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&most), unsafe.Sizeof(most)) {
		x.MaxRSS = int64(most.PeakJobMemoryUsed)
	}
}

// memoryLimit is not asked for: who reaches it here is refused more, and not killed.
func (*cgroup) memoryLimit() crony.Size { return 0 }

// remove lets go of the job object. None may go on in it.
func (c *cgroup) remove(*slog.Logger) {
	if c.job != 0 {
		windows.CloseHandle(c.job) //nolint:errcheck // nothing depends on it
		c.job = 0
	}
}

// reopen has it be the job object of this name, which an earlier life has made, if that is still there.
func (c *cgroup) reopen(path string) {
	if job, err := openJob(path); err == nil {
		c.path, c.job = path, job
	}
}

// isCgroup says whether there is still a job object of this name.
func isCgroup(path string) bool {
	job, err := openJob(path)
	if err == nil {
		windows.CloseHandle(job) //nolint:errcheck // only looked at
	}
	return err == nil
}

// What may be done with a job object, see winnt.h.
const (
	jobAll   = 0x1F001F
	jobQuery = 0x4
)

func openJob(path string) (windows.Handle, error) {
	if path == "" {
		return 0, windows.ERROR_FILE_NOT_FOUND
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	open := windows.NewLazySystemDLL("kernel32.dll").NewProc("OpenJobObjectW")
	job, _, err := open.Call(jobAll, 0, uintptr(unsafe.Pointer(name)))
	if job == 0 {
		return 0, err
	}
	return windows.Handle(job), nil
}
