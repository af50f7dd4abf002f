package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"crony"
)

// cgroups is where the cgroups of attempts are made: in a directory of their own, below the agent's cgroup or the one that its
// configuration names. A nil one makes none.
type cgroups struct {
	dir string
	can map[string]bool // controllers
	log *slog.Logger
}

// agentLeaf is the cgroup into which the agent moves itself, out of its own: the kernel gives controllers only to children of a
// cgroup that has no processes. A service manager may have put it there already: see DelegateSubgroup= in
// systemd.resource-control(5).
const agentLeaf = "crony-agent.self"

// openCgroups makes the directory for the cgroups of an agent. The error says why there can be none.
func openCgroups(parent, name string, log *slog.Logger) (*cgroups, error) {
	own := parent == ""
	if own {
		var err error
		if parent, err = ownCgroup(); err != nil {
			return nil, err
		}
	}
	g := &cgroups{dir: filepath.Join(parent, name), can: map[string]bool{}, log: log}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	if err := g.probe(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	for _, controller := range []string{"memory", "cpu", "pids", "io"} {
		if err := g.enable(parent, controller, own); err != nil {
			log.Debug("no cgroup controller", "controller", controller, "err", err)
			continue
		}
		g.can[controller] = true
	}
	return g, nil
}

// ownCgroup returns the directory of the cgroup that the agent is in.
func ownCgroup() (string, error) {
	self, err := procfs.Self()
	if err != nil {
		return "", fmt.Errorf("look for the agent's cgroup: %w", err)
	}
	mounts, err := self.MountInfo()
	if err != nil {
		return "", fmt.Errorf("look for the agent's cgroup: %w", err)
	}
	groups, err := self.Cgroups()
	if err != nil {
		return "", fmt.Errorf("look for the agent's cgroup: %w", err)
	}
	at := slices.IndexFunc(groups, func(c procfs.Cgroup) bool { return c.HierarchyID == 0 })
	for _, m := range mounts {
		if at < 0 || m.FSType != "cgroup2" {
			continue
		}
		inside, err := filepath.Rel(m.Root, groups[at].Path)
		if err != nil || strings.HasPrefix(inside, "..") {
			continue
		}
		dir := filepath.Join(m.MountPoint, inside)
		if filepath.Base(dir) == agentLeaf {
			dir = filepath.Dir(dir)
		}
		return dir, nil
	}
	return "", errors.New("no cgroup of version 2 is mounted that the agent is in")
}

// probe says whether a process can be started in a cgroup, and killed with it: that takes Linux 5.14, and the right to. It
// starts a program that there is not, so that none runs.
func (g *cgroups) probe() error {
	c := &cgroup{path: filepath.Join(g.dir, "probe")}
	c.remove(g.log)
	if err := os.Mkdir(c.path, 0o755); err != nil {
		return err
	}
	defer c.remove(g.log)
	if _, err := os.Stat(filepath.Join(c.path, "cgroup.kill")); err != nil {
		return fmt.Errorf("this kernel can't kill a cgroup: %w", err)
	}
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{}}
	done, err := c.enter(attr.Sys)
	if err != nil {
		return err
	}
	defer done()
	if _, err := syscall.ForkExec("/proc/self/no-program", nil, attr); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start a process in a cgroup: %w", err)
	}
	return nil
}

// enable has the cgroups of attempts get a controller.
func (g *cgroups) enable(parent, controller string, own bool) error {
	for _, dir := range []string{parent, g.dir} {
		err := enableIn(dir, controller)
		if errors.Is(err, unix.EBUSY) && own && dir == parent {
			if err = moveSelf(filepath.Join(parent, agentLeaf)); err == nil {
				err = enableIn(dir, controller)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func enableIn(dir, controller string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(data)), controller) {
		return errors.New("not in " + filepath.Join(dir, "cgroup.controllers"))
	}
	return writeControl(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
}

func moveSelf(to string) error {
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeControl(filepath.Join(to, "cgroup.procs"), strconv.Itoa(os.Getpid()))
}

// lacking returns the limits that no attempt can be held to.
func (g *cgroups) lacking() (names []string) {
	for _, l := range limitsOf(&crony.Limits{Memory: 1, CPU: 1, Pids: 1}) {
		if g == nil || !g.can[l.controller] {
			names = append(names, l.name)
		}
	}
	return names
}

func (g *cgroups) pathOf(run crony.RunID, attempt int) string {
	return filepath.Join(g.dir, string(run)+"."+strconv.Itoa(attempt))
}

// sweep removes what an earlier life has left: the cgroups of runs that do not go on. In one of a run that is over, or that
// nobody knows, processes should be no more; if there are some, that is said, and they are left alone.
func (g *cgroups) sweep(goesOn func(crony.RunID) bool) {
	if g == nil {
		return
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		g.log.Warn("old cgroups stay", "err", err)
		return
	}
	for _, e := range entries {
		run, _, ok := strings.Cut(e.Name(), ".")
		if !e.IsDir() || !ok || goesOn(crony.RunID(run)) {
			continue
		}
		c := &cgroup{path: filepath.Join(g.dir, e.Name())}
		if n := c.count(); n > 0 {
			g.log.Warn("processes go on of a run that does not", "run", run, "processes", n, "cgroup", c.path)
			continue
		}
		c.remove(g.log)
	}
}

// close removes the directory, if no attempt has a cgroup any more.
func (g *cgroups) close() error {
	if g == nil {
		return nil
	}
	err := unix.Rmdir(g.dir)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return fmt.Errorf("remove the agent's cgroup: %w", err)
}
