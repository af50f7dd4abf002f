package testhosts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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
	overlay, err := steppedTime(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-overlay", overlay, "-o", dir + "/"}, packages...)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// steppedTime writes the changed files of package time, and the overlay that puts them in their place, whose name it returns.
func steppedTime(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("look for the standard library: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", err
	}
	const reads = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), reads) != 1 {
		return "", fmt.Errorf("%s/time.go does not read the clock as it did: mend steppedTime", std)
	}
	changed := strings.Replace(string(source), reads, reads+"\tsec += stepped.Load()\n", 1)
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": changed, "stepped.go": stepped} {
		replace[filepath.Join(std, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
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
