package runlog

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"crony"
)

// Day files are mapped: what is read of them counts as the process's memory until the kernel wants it back, which on a large
// host it never does. A search through a week would so make the server look, to who set a bound for it, as large as the week.
// So what was read is let go of when it has become much. It stays in the kernel's cache, and who reads it again pays a fault.
const (
	letGoTick  = 250 * time.Millisecond
	letGoAbove = 64 << 20 // bytes of files that became the process's memory since it last let go
)

// letGo watches the process's memory until ctx is done.
func (k *keeping) letGo(ctx context.Context) {
	tick := time.NewTicker(letGoTick)
	defer tick.Stop()
	var left int64 // of files, when it last let go: what others have mapped, and what is in use all the time
	for {
		select {
		case <-tick.C:
		case <-k.log.closing:
			return
		case <-ctx.Done():
			return
		}
		k.attempt(ctx, "let go of what was read of day files", func(context.Context) error {
			mapped, err := residentFiles()
			if err != nil {
				return err
			}
			if left = min(left, mapped); mapped-left < letGoAbove {
				return nil
			}
			if err := k.log.days.letGo(); err != nil {
				return err
			}
			left, err = residentFiles()
			return err
		})
	}
}

// residentFiles returns how many bytes of mapped files are in the process's memory: see statm in proc(5).
func residentFiles() (int64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared); err != nil {
		return 0, fmt.Errorf("read /proc/self/statm: %w", err)
	}
	return shared * int64(os.Getpagesize()), nil
}

// letGo takes what was read of the open files out of the process's memory.
func (s *days) letGo() error {
	s.mu.Lock()
	files := slices.Collect(maps.Keys(s.opened))
	s.mu.Unlock()
	for _, d := range files {
		_, err := d.with(false, func(db *bbolt.DB) error {
			return db.View(func(tx *bbolt.Tx) error { // while it lasts, the mapping stays where it is
				_, _, errno := unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
				if errno != 0 {
					return os.NewSyscallError("madvise", errno)
				}
				return nil
			})
		})
		if err != nil && crony.CodeOf(err) != crony.Unavailable {
			return fmt.Errorf("day file %s: %w", d.path, err)
		}
	}
	return nil
}
