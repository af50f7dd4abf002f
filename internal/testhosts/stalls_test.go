package testhosts_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crony/internal/judge"
)

// stalls notes when the machine itself gives nobody a turn: on each processor a thread of its own asks to be woken every few
// milliseconds, and is not. The function that it returns ends that, and returns the times.
func stalls(t *testing.T) func() []judge.Stall {
	t.Helper()
	var mu sync.Mutex
	var list []judge.Stall
	stop := make(chan struct{})
	var threads sync.WaitGroup
	for cpu := range runtime.NumCPU() {
		threads.Go(func() {
			runtime.LockOSThread() // and given back as it was: what a thread has started is killed when the thread ends
			defer runtime.UnlockOSThread()
			var anywhere, here unix.CPUSet
			here.Set(cpu)
			if err := errors.Join(unix.SchedGetaffinity(0, &anywhere), unix.SchedSetaffinity(0, &here)); err != nil {
				t.Errorf("stay on processor %d: %v", cpu, err)
				return
			}
			defer unix.SchedSetaffinity(0, &anywhere)
			nap := unix.NsecToTimespec((5 * time.Millisecond).Nanoseconds())
			for {
				began := time.Now()
				unix.Nanosleep(&nap, nil)
				if woken := time.Now(); woken.Sub(began) > 25*time.Millisecond {
					mu.Lock()
					list = append(list, judge.Stall{From: began, To: woken})
					mu.Unlock()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var once sync.Once
	end := func() []judge.Stall {
		once.Do(func() { close(stop) })
		threads.Wait()
		return list
	}
	t.Cleanup(func() { end() })
	return end
}
