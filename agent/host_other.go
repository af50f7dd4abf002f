//go:build !linux

package agent

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"

	"crony"
)

// lookAtHost returns how the host is; the share of its CPUs is of the time since the glance before, which it replaces. Windows
// knows no load.
func lookAtHost(dir string, now time.Time, before *glance) (crony.HostFigures, error) {
	f := crony.HostFigures{At: now.UTC(), DiskDir: dir}
	times, err := cpu.Times(false)
	if err != nil || len(times) == 0 {
		return f, fmt.Errorf("read the CPUs' times: %w", err)
	}
	c := times[0]
	after := glance{busy: c.User + c.Nice + c.System + c.Irq + c.Softirq + c.Steal}
	after.all = after.busy + c.Idle + c.Iowait
	f.CPU = before.share(after)
	if f.CPUs, err = cpu.Counts(true); err != nil {
		return f, fmt.Errorf("count the CPUs: %w", err)
	}
	if hasLoad {
		avg, err := load.Avg()
		if err != nil {
			return f, fmt.Errorf("read the load: %w", err)
		}
		f.Load1, f.Load5, f.Load15 = avg.Load1, avg.Load5, avg.Load15
	}
	memory, err := mem.VirtualMemory()
	if err != nil {
		return f, fmt.Errorf("read how the memory is used: %w", err)
	}
	f.MemoryTotal, f.MemoryAvailable = int64(memory.Total), int64(memory.Available)
	disk, err := diskOf(dir)
	if err != nil {
		return f, fmt.Errorf("read how the disk is used: %w", err)
	}
	f.DiskTotal, f.DiskAvailable = disk.total, disk.available
	up, err := host.Uptime()
	if err != nil {
		return f, fmt.Errorf("read since when the host is up: %w", err)
	}
	f.Uptime = int64(up)
	return f, nil
}
