package agent

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unsafe"

	"golang.org/x/sys/windows"

	"crony"
)

// spawned is a process that an agent has started, this life of it or an earlier one: who has it open can wait for it.
type spawned struct {
	pid    int
	handle windows.Handle
}

// start starts the command in a job object, with these handles as its stdin, stdout and stderr. The process is in the job object
// from its first moment, and has a group of its own on the agent's console, so that Ctrl-Break can be given to it alone.
func (c *command) start(files []int, in *cgroup, _ *children) (*spawned, error) {
	if in.job == 0 {
		return nil, errors.Join(errors.New("it has no job object to be held in"), in.err)
	}
	failed := func(err error) error { return &os.PathError{Op: "start", Path: c.program, Err: err} }
	var given []windows.Handle // that the process has, too
	defer func() {
		for _, h := range given {
			windows.CloseHandle(h) //nolint:errcheck // the process has its own
		}
	}()
	self := windows.CurrentProcess()
	for _, f := range files[:3] {
		var h windows.Handle
		err := windows.DuplicateHandle(self, windows.Handle(f), self, &h, 0, true, windows.DUPLICATE_SAME_ACCESS)
		if err != nil {
			return nil, failed(err)
		}
		given = append(given, h)
	}
	var keep windows.Handle // keeps the job object's name good, see [cgroup]
	if err := windows.DuplicateHandle(self, in.job, self, &keep, jobQuery, true, 0); err != nil {
		return nil, failed(err)
	}
	given = append(given, keep)

	attributes, err := windows.NewProcThreadAttributeList(2)
	if err != nil {
		return nil, failed(err)
	}
	defer attributes.Delete()
	const jobList = 0x2000D // PROC_THREAD_ATTRIBUTE_JOB_LIST
	err = attributes.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&given[0]),
		uintptr(len(given))*unsafe.Sizeof(given[0]))
	if err == nil {
		err = attributes.Update(jobList, unsafe.Pointer(&in.job), unsafe.Sizeof(in.job))
	}
	if err != nil {
		return nil, failed(err)
	}
	si := windows.StartupInfoEx{ProcThreadAttributeList: attributes.List()}
	si.Cb = uint32(unsafe.Sizeof(si))
	si.Flags = windows.STARTF_USESTDHANDLES
	si.StdInput, si.StdOutput, si.StdErr = given[0], given[1], given[2]
	var pi windows.ProcessInformation
	if err := c.create(&si.StartupInfo, &pi); err != nil {
		return nil, failed(err)
	}
	windows.CloseHandle(pi.Thread) //nolint:errcheck // only the process is waited for
	return &spawned{pid: int(pi.ProcessId), handle: pi.Process}, nil
}

func (c *command) create(si *windows.StartupInfo, pi *windows.ProcessInformation) error {
	line, err := c.commandLine()
	if err != nil {
		return err
	}
	program, err := windows.UTF16PtrFromString(c.program)
	if err != nil {
		return err
	}
	args, err := windows.UTF16PtrFromString(line)
	if err != nil {
		return err
	}
	var dir *uint16
	if c.dir != "" {
		if dir, err = windows.UTF16PtrFromString(c.dir); err != nil {
			return err
		}
	}
	env, err := environBlock(c.env)
	if err != nil {
		return err
	}
	return windows.CreateProcess(program, args, nil, nil, true, windows.CREATE_UNICODE_ENVIRONMENT|
		windows.EXTENDED_STARTUPINFO_PRESENT|windows.CREATE_NEW_PROCESS_GROUP, &env[0], dir, si, pi)
}

// environBlock is an environment as CreateProcess takes it: in the order of its names, each ended by a NUL, and so the whole.
func environBlock(env []string) (block []uint16, err error) {
	sorted := slices.Clone(env)
	slices.SortFunc(sorted, func(a, b string) int {
		return strings.Compare(strings.ToUpper(a), strings.ToUpper(b))
	})
	for _, v := range sorted {
		if strings.Contains(v, "\x00") {
			return nil, windows.ERROR_INVALID_PARAMETER
		}
		block = append(append(block, utf16.Encode([]rune(v))...), 0)
	}
	return append(block, 0), nil
}

// take returns the process of this id that began at a time, if it goes on; else nil.
func (*children) take(pid int, began uint64) *spawned {
	handle, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return nil
	}
	if is, err := beganAt(handle); err != nil || is != began || began == 0 {
		windows.CloseHandle(handle) //nolint:errcheck // only looked at
		return nil
	}
	return &spawned{pid: pid, handle: handle}
}

// waitEnd waits until the process has ended. It takes a thread for as long.
func (c *spawned) waitEnd() {
	windows.WaitForSingleObject(c.handle, windows.INFINITE) //nolint:errcheck // it is ours
}

// wait waits until the process has ended and returns how, what it used, and whether that is known. It is called once.
func (c *spawned) wait() (fact crony.ExitedFact, known bool) {
	c.waitEnd()
	defer windows.CloseHandle(c.handle) //nolint:errcheck // nothing more is asked
	var exit uint32
	if err := windows.GetExitCodeProcess(c.handle, &exit); err != nil {
		return fact, false
	}
	code := int(exit)
	fact.ExitCode = &code
	var began, ended, kernel, user windows.Filetime
	if windows.GetProcessTimes(c.handle, &began, &ended, &kernel, &user) == nil {
		fact.CPUSeconds = (ticks(kernel) + ticks(user)).Seconds()
	}
	return fact, true
}

// ticks is a time that is counted in units of 100 ns.
func ticks(t windows.Filetime) time.Duration {
	return time.Duration(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) * 100
}
