package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"crony"
)

// cgroup holds the processes of one attempt, see cgroups(7): none can leave it, so that it is known exactly what an attempt has
// left behind, and all of it can be killed at once. It is remembered by its path, in the journal too, and nothing of it is held
// open.
type cgroup struct {
	path   string   // "": there is none
	unheld []string // limits that the attempt is not held to, though its job asks for them

	bare bool // no controller counts for it, so that there is less to read
}

// hasCgroups says that a configuration may name one.
const hasCgroups = true

// What is said of what holds runs.
const (
	runsHave  = "runs have cgroups"
	whyUnheld = "for which its agent has no cgroup controllers" // it is not held to a limit
)

// lacks is what this platform has not of what jobs may ask for: nothing.
func lacks() []string { return nil }

// cpuPeriod is the time in which a share of the CPUs is measured: the kernel's own default.
const cpuPeriod = 100 * time.Millisecond

// limit is one limit, as the files of its controller take it.
type limit struct {
	name, controller string
	files            [][2]string // file, value
}

func limitsOf(l *crony.Limits) (list []limit) {
	if l == nil {
		return nil
	}
	if l.Memory > 0 {
		list = append(list, limit{"memory", "memory", [][2]string{
			{"memory.max", strconv.FormatInt(int64(l.Memory), 10)}, {"memory.swap.max", "0"}, {"memory.oom.group", "1"}}})
	}
	if l.CPU > 0 {
		quota := int64(math.Round(l.CPU * float64(cpuPeriod.Microseconds())))
		list = append(list, limit{"cpu", "cpu", [][2]string{{"cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod.Microseconds())}}})
	}
	if l.Pids > 0 {
		list = append(list, limit{"pids", "pids", [][2]string{{"pids.max", strconv.Itoa(l.Pids)}}})
	}
	return list
}

// make makes the cgroup of an attempt, with the limits that there are controllers for. Without one the attempt starts all the
// same, and is known by its processes.
func (g *cgroups) make(run crony.RunID, attempt int, limits *crony.Limits) *cgroup {
	c := &cgroup{bare: g != nil && len(g.can) == 0}
	asked := limitsOf(limits)
	if g != nil {
		path := g.pathOf(run, attempt)
		err := os.Mkdir(path, 0o755)
		if errors.Is(err, fs.ErrExist) { // of an earlier life, that made it ahead
			(&cgroup{path: path}).remove(g.log)
			err = os.Mkdir(path, 0o755)
		}
		if err != nil {
			g.log.Warn("cgroup of a run not made", "run", run, "err", err)
		} else {
			c.path = path
		}
	}
	for _, l := range asked {
		if c.path == "" || !g.can[l.controller] || !c.hold(l, run, g.log) {
			c.unheld = append(c.unheld, l.name)
		}
	}
	return c
}

// hold sets a limit, and says whether it holds.
func (c *cgroup) hold(l limit, run crony.RunID, log *slog.Logger) bool {
	for i, f := range l.files {
		err := c.write(f[0], f[1])
		if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) { // a kernel without swap has no limit for it
			log.Warn("limit of a run not set", "run", run, "limit", l.name, "err", err)
			return false
		}
	}
	return true
}

// write writes to a file that is there: none is ever made in a cgroup.
func (c *cgroup) write(file, value string) error {
	return writeControl(filepath.Join(c.path, file), value)
}

func writeControl(path, value string) error {
	fd, err := openFD(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // the kernel has answered to the write
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// count implements [tree].
func (c *cgroup) count() int {
	if c.figures("cgroup.events")["populated"] == 0 {
		return 0
	}
	return len(c.processes())
}

// processes returns those of the cgroup, and of cgroups that they have made in it.
func (c *cgroup) processes() (pids []int) {
	_ = filepath.WalkDir(c.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for _, text := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 { // 0 is one of another namespace of pids
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// term implements [tree].
func (c *cgroup) term() { termAll(c.processes()) }

// kill implements [tree]. The kernel kills all at once: nobody can fork out of it.
func (c *cgroup) kill() {
	c.write("cgroup.kill", "1") //nolint:errcheck // who looks whether anything is left finds out
}

// figures reads a file of lines "name number"; nothing if it is not there.
func (c *cgroup) figures(file string) map[string]int64 {
	data, err := readControl(filepath.Join(c.path, file))
	if err != nil {
		return nil
	}
	return parseFigures(data)
}

func parseFigures(data []byte) map[string]int64 {
	figures := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				figures[name] = n
			}
		}
	}
	return figures
}

// figure reads a file of one number; 0 if it is not there, or holds none ("max").
func (c *cgroup) figure(file string) int64 {
	data, err := readControl(filepath.Join(c.path, file))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64) // 0 is what is meant
	return n
}

// readControl reads a file of a cgroup, which is short, without telling Go's poller of it.
func readControl(path string) ([]byte, error) {
	fd, err := openFD(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // only read from
	data := make([]byte, 8<<10)
	n, err := unix.Read(fd, data)
	return data[:max(n, 0)], err
}

// measure writes down what the whole attempt has used, where the kernel knows. Of what it does not know, the fact keeps what is
// known of the leader.
func (c *cgroup) measure(x *crony.ExitedFact) {
	if used, ok := c.figures("cpu.stat")["usage_usec"]; ok {
		x.CPUSeconds = (time.Duration(used) * time.Microsecond).Seconds()
	}
	if c.bare {
		return
	}
	if peak := c.figure("memory.peak"); peak > 0 {
		x.MaxRSS = peak
	}
	if data, err := readControl(filepath.Join(c.path, "io.stat")); err == nil {
		x.ReadBytes, x.WriteBytes = sumIO(data)
	}
	x.OOM = c.figures("memory.events")["oom_kill"] > 0
}

// memoryLimit returns the limit that the attempt has hit; 0 if it has none, or was killed as its host had no memory left.
func (c *cgroup) memoryLimit() crony.Size {
	if c.figures("memory.events")["oom"] == 0 {
		return 0
	}
	return crony.Size(c.figure("memory.max"))
}

// sumIO adds up what io.stat says of each device: "8:0 rbytes=1 wbytes=2 …".
func sumIO(data []byte) (read, written int64) {
	words := bufio.NewScanner(bytes.NewReader(data))
	words.Split(bufio.ScanWords)
	for words.Scan() {
		name, value, _ := strings.Cut(words.Text(), "=")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil || n < 0:
		case name == "rbytes":
			read += n
		case name == "wbytes":
			written += n
		}
	}
	return read, written
}

// remove removes the cgroup, and those that its processes have made in it. None may go on in it.
func (c *cgroup) remove(log *slog.Logger) {
	if c.path == "" {
		return
	}
	err := unix.Rmdir(c.path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return
	}
	var below []string
	_ = filepath.WalkDir(c.path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for _, path := range slices.Backward(below) { // each after what is in it
		err = unix.Rmdir(path)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		log.Warn("cgroup of a run stays", "cgroup", c.path, "err", err)
	}
}

// enter has a process be started in the cgroup. Whoever calls it closes what it returns, once the process is started.
func (c *cgroup) enter(attr *syscall.SysProcAttr) (done func(), err error) {
	if c == nil || c.path == "" {
		return func() {}, nil
	}
	fd, err := openFD(c.path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	attr.UseCgroupFD, attr.CgroupFD = true, fd
	return func() { unix.Close(fd) }, nil //nolint:errcheck // a path
}

// reopen has it be the cgroup of this path, which an earlier life has made, if that is still there.
func (c *cgroup) reopen(path string) {
	if isCgroup(path) {
		c.path = path
	}
}

// isCgroup says whether there is still a cgroup of this path, as of a boot of the host.
func isCgroup(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(path, "cgroup.events"))
	return err == nil
}
