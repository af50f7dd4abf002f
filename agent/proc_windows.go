package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"crony"
)

// treeOf returns the processes of an attempt. The leader is 0 if its pid may be another's.
func (*runner) treeOf(p *process, leader int) tree {
	p.cgroup.leader = leader
	return p.cgroup
}

// procTable is not asked for: job objects know their processes.
type procTable struct{}

func newProcTable() *procTable { return nil }

// bootID returns when the first of the system's processes began, which end only with it: it names the boot.
func bootID() (string, error) {
	size := uint32(1 << 20)
	var data []byte
	for {
		data = make([]byte, size)
		err := windows.NtQuerySystemInformation(windows.SystemProcessInformation, unsafe.Pointer(&data[0]), size, &size)
		if err == nil {
			break
		}
		if !errors.Is(err, windows.STATUS_INFO_LENGTH_MISMATCH) {
			return "", err
		}
		size += size / 4
	}
	first := int64(0)
	for {
		p := (*windows.SYSTEM_PROCESS_INFORMATION)(unsafe.Pointer(&data[0]))
		if p.CreateTime > 0 && (first == 0 || p.CreateTime < first) {
			first = p.CreateTime
		}
		if p.NextEntryOffset == 0 {
			break
		}
		data = data[p.NextEntryOffset:]
	}
	return fmt.Sprint("windows ", first), nil
}

// boottime returns how long ago the host has booted, by a clock that goes on while it is asleep.
func boottime() time.Duration { return windows.DurationSinceBoot() }

// hasLoad says that the host has load averages.
const hasLoad = false

// firstProcess is asked for as part of a boot's name, which [bootID] is the whole of here.
const firstProcess = 0

// startTicks returns when a process began, in units of 100 ns; [os.ErrProcessDone] if it has ended.
func startTicks(pid int) (uint64, error) {
	if pid == firstProcess {
		return 0, nil
	}
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return 0, errors.Join(os.ErrProcessDone, err)
	}
	defer windows.CloseHandle(process) //nolint:errcheck // only looked at
	if waited, err := windows.WaitForSingleObject(process, 0); err == nil && waited == windows.WAIT_OBJECT_0 {
		return 0, os.ErrProcessDone
	}
	return beganAt(process)
}

func beganAt(process windows.Handle) (uint64, error) {
	var began, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(process, &began, &ended, &kernel, &user); err != nil {
		return 0, err
	}
	return uint64(began.HighDateTime)<<32 | uint64(began.LowDateTime), nil
}

// findLeader returns the first process of an attempt that an earlier life was starting; 0 if there is none.
func (r *runner) findLeader(run crony.RunID, attempt int) (leader int) {
	c := &cgroup{}
	c.reopen(r.cgroups.pathOf(run, attempt))
	defer c.remove(r.log)
	first := uint64(0)
	for _, pid := range c.processes() {
		if began, err := startTicks(pid); err == nil && (leader == 0 || began < first) {
			leader, first = pid, began
		}
	}
	return leader
}

// adoptOrphans is not asked for.
func adoptOrphans() error { return nil }

// children are nothing here: who waits for a process has it open.
type children struct{}

func newChildren() *children { return &children{} }

// reap has nothing to do.
func (*children) reap(context.Context) error { return nil }
