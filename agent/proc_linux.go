package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func readProcs() (list []proc) {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // its only error is for a bad pattern
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil {
			continue
		}
		p := proc{pid: pid, parent: number(fields[statParent]), group: number(fields[statGroup]),
			session: number(fields[statSession])}
		p.environ, _ = os.ReadFile(filepath.Join(dir, "environ")) // another user's can't be read, and is no kin
		list = append(list, p)
	}
	return list
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // the kernel writes numbers
	return n
}

// bootID returns the name of the host's boot, see random(4).
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// firstProcess is the host's first process, or its container's.
const firstProcess = 1

// boottime returns how long ago the host has booted, by a clock that goes on while it is suspended; see clock_gettime(2).
func boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("agent: ask for CLOCK_BOOTTIME: %v", err)) // Linux has it since 2.6.39
	}
	return time.Duration(t.Nano())
}

// startTicks returns when a process began, in clock ticks since the host's boot: field 22 of /proc/PID/stat, see proc(5).
func startTicks(pid int) (uint64, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[statStart], 10, 64)
}

// Fields of /proc/PID/stat, counted from 0 at the one after the name, which proc(5) numbers 3.
const (
	statState   = 0
	statParent  = 1
	statGroup   = 2
	statSession = 3
	statStart   = 19
)

// stat returns those fields; [os.ErrProcessDone] if the process has ended and only waits to be reaped.
func stat(pid int) ([]string, error) {
	fields, err := statOf(pid)
	if err == nil && fields[statState] == "Z" {
		return nil, os.ErrProcessDone
	}
	return fields, err
}

// statOf is stat for processes too that have ended.
func statOf(pid int) ([]string, error) {
	fd, err := openFD("/proc/"+strconv.Itoa(pid)+"/stat", os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	data := make([]byte, 2048) // it is 52 numbers and a name of 64 bytes at most
	n, err := unix.Read(fd, data)
	if err != nil {
		return nil, err // the process was reaped in between
	}
	data = data[:n]
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // the name before it may hold anything
	if len(fields) <= statStart {
		return nil, os.ErrProcessDone
	}
	return fields, nil
}
