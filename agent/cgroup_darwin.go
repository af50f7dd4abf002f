package agent

import (
	"errors"
	"log/slog"
	"syscall"

	"crony"
)

// cgroup holds nothing together here: an attempt is known by its processes, see [kin], and held to no limits.
type cgroup struct {
	path   string   // ""
	unheld []string // limits that the attempt is not held to, though its job asks for them
}

// cgroups would be where cgroups are made. There are none.
type cgroups struct {
	dir string
	log *slog.Logger
}

// hasCgroups says that a configuration may name one.
const hasCgroups = false

// What is said of what holds runs.
const (
	runsHave  = "runs have cgroups"
	whyUnheld = "which macOS can't hold it to"
)

// lacks is what this platform has not of what jobs may ask for.
func lacks() []string {
	return []string{
		"runs are not held to limits of memory, cpu and pids",
		"rlimits are not supported yet: jobs with them are not for it",
		"a daemon that a run leaves behind is found only by its process group, session, parents or environment",
		"of long outputs, what is delivered stays on the disk until the run has ended",
	}
}

func openCgroups(string, string, *slog.Logger) (*cgroups, error) {
	return nil, errors.New("there are none on macOS")
}

func (*cgroups) make(_ crony.RunID, _ int, limits *crony.Limits) *cgroup {
	c := &cgroup{}
	if limits == nil {
		return c
	}
	if limits.Memory > 0 {
		c.unheld = append(c.unheld, "memory")
	}
	if limits.CPU > 0 {
		c.unheld = append(c.unheld, "cpu")
	}
	if limits.Pids > 0 {
		c.unheld = append(c.unheld, "pids")
	}
	return c
}

func (*cgroups) lacking() []string                         { return nil }
func (*cgroups) pathOf(crony.RunID, int) string            { return "" }
func (*cgroups) sweep(func(crony.RunID) bool)              {}
func (*cgroups) close() error                              { return nil }
func (*cgroup) enter(*syscall.SysProcAttr) (func(), error) { return func() {}, nil }
func (*cgroup) reopen(string)                              {}
func (*cgroup) measure(*crony.ExitedFact)                  {}
func (*cgroup) memoryLimit() crony.Size                    { return 0 }
func (*cgroup) remove(*slog.Logger)                        {}
func isCgroup(string) bool                                 { return false }

// These make it a [tree], which it is never asked to be.
func (*cgroup) count() int { return 0 }
func (*cgroup) term()      {}
func (*cgroup) kill()      {}
