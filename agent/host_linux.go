package agent

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"crony"
)

// lookAtHost returns how the host is; the share of its CPUs is of the time since the glance before, which it replaces.
func lookAtHost(dir string, now time.Time, before *glance) (crony.HostFigures, error) {
	f := crony.HostFigures{At: now.UTC(), DiskDir: dir}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return f, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return f, fmt.Errorf("read the CPUs' times: %w", err)
	}
	c := stat.CPUTotal
	after := glance{busy: c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal}
	after.all = after.busy + c.Idle + c.Iowait
	f.CPU = before.share(after)
	f.CPUs = len(stat.CPU)
	load, err := proc.LoadAvg()
	if err != nil {
		return f, fmt.Errorf("read the load: %w", err)
	}
	f.Load1, f.Load5, f.Load15 = load.Load1, load.Load5, load.Load15
	memory, err := proc.Meminfo()
	if err != nil {
		return f, fmt.Errorf("read how the memory is used: %w", err)
	}
	f.MemoryTotal, f.MemoryAvailable = bytesOf(memory.MemTotalBytes), bytesOf(memory.MemAvailableBytes)
	disk, err := diskOf(dir)
	if err != nil {
		return f, fmt.Errorf("read how the disk is used: %w", err)
	}
	f.DiskTotal, f.DiskAvailable = disk.total, disk.available
	f.Uptime = int64(boottime() / time.Second)
	return f, nil
}

func bytesOf(n *uint64) int64 {
	if n == nil { // a kernel that does not say
		return 0
	}
	return int64(*n)
}
