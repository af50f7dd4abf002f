package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"crony"
	"crony/internal/wire"
)

// The times of looking at the host.
const (
	lookEvery = 2 * time.Second
	firstLook = 300 * time.Millisecond // after which the first share of the CPUs is known
)

// watcher looks at the host while somebody wants to know how it is, and else does nothing.
type watcher struct {
	look  func(*glance) (crony.HostFigures, error)
	post  func(*wire.FromAgent) bool
	log   *slog.Logger
	turns chan bool // the last word on whether somebody looks, until it is heard
}

func newWatcher(dir string, now func() time.Time, post func(*wire.FromAgent) bool, log *slog.Logger) *watcher {
	look := func(before *glance) (crony.HostFigures, error) { return lookAtHost(dir, now(), before) }
	return &watcher{look: look, post: post, log: log, turns: make(chan bool, 1)}
}

// turn says whether somebody looks. One goroutine at a time may call it.
func (w *watcher) turn(on bool) {
	select {
	case <-w.turns:
	default:
	}
	w.turns <- on
}

// run looks whenever somebody wants it, until ctx is done.
func (w *watcher) run(ctx context.Context) error {
	for {
		select {
		case on := <-w.turns:
			if on {
				w.watch(ctx)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// watch looks until nobody wants it any more, or the host can't be looked at.
func (w *watcher) watch(ctx context.Context) {
	var before glance
	_, err := w.look(&before)
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for err == nil {
		select {
		case on := <-w.turns:
			if !on {
				return
			}
		case <-timer.C:
			var figures crony.HostFigures
			if figures, err = w.look(&before); err == nil {
				w.post(&wire.FromAgent{Kind: &wire.FromAgent_Figures{Figures: &wire.Figures{Figures: wire.Encode(figures)}}})
			}
			timer.Reset(lookEvery)
		case <-ctx.Done():
			return
		}
	}
	w.log.Warn("the host can't be looked at", "err", err)
}

// glance is how much time the CPUs had spent when somebody looked, in seconds since the host booted.
type glance struct{ busy, all float64 }

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
	if spent := after.all - before.all; spent > 0 {
		f.CPU = min(1, max(0, (after.busy-before.busy)/spent))
	}
	*before = after
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
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return f, fmt.Errorf("read how the disk is used: %w", err)
	}
	f.DiskTotal, f.DiskAvailable = int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return f, fmt.Errorf("read since when the host is up: %w", err)
	}
	f.Uptime = up.Sec
	return f, nil
}

func bytesOf(n *uint64) int64 {
	if n == nil { // a kernel that does not say
		return 0
	}
	return int64(*n)
}
