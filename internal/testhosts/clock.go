package testhosts

import (
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"crony/internal/overlay"
)

// Clock is a wall clock of a process's own, that a test can step. The machine's clock is left alone, and so are the process's
// monotonic clock and its timers, as they are where a host's clock is set.
type Clock struct {
	file   string
	offset *atomic.Int64 // in seconds, in a page that is shared with the process
}

// clockEnv names the file of a process's clock.
const clockEnv = "CRONY_TEST_CLOCK"

// NewClock makes a clock in a file, that is right at first.
func NewClock(t testing.TB, file string) *Clock {
	t.Helper()
	if err := os.WriteFile(file, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(page); err != nil {
			t.Error(err)
		}
	})
	return &Clock{file: file, offset: (*atomic.Int64)(unsafe.Pointer(&page[0]))}
}

// Set has the clock be off by whole seconds, ahead if they are positive.
func (c *Clock) Set(off time.Duration) { c.offset.Store(int64(off / time.Second)) }

// Env is what a program of [SteppedPrograms] must find in its environment to go by the clock.
func (c *Clock) Env() string { return clockEnv + "=" + c.file }

// SteppedPrograms builds programs whose time.Now goes by the clock that their environment names. The sources are as ever, and
// hold nothing for it: the standard library's package time is another one in this build alone. All that they need is compiled
// anew for that, once, which takes minutes.
func SteppedPrograms(t testing.TB, module, dir string, packages ...string) {
	t.Helper()
	changed, err := steppedTime(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-overlay", changed, "-o", dir + "/"}, packages...)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// steppedTime makes an overlay with the changed files of package time, and returns its name.
func steppedTime(dir string) (string, error) {
	const reads = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	return overlay.Write(dir, []overlay.Edit{{File: "time/time.go", Old: reads, New: reads + "\tsec += stepped.Load()\n"}},
		map[string]string{"time/stepped.go": stepped})
}

// stepped is the file that is added to package time.
const stepped = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var stepped = openStepped()

func openStepped() *atomic.Int64 {
	file, ok := syscall.Getenv("` + clockEnv + `")
	if !ok {
		return new(atomic.Int64)
	}
	fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("open the test's clock: " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map the test's clock: " + err.Error())
	}
	syscall.Close(fd)
	return (*atomic.Int64)(unsafe.Pointer(&page[0]))
}
`
