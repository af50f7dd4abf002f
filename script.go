package crony

import (
	"fmt"
	"path"
	"slices"
	"time"
)

// Script is a preset script: it prepares a host for the jobs that name it. It runs on each host that is given such a job,
// before anything of the job does: as the agent's own user, once for what it holds, however many jobs of the host name it. So
// it is to be about the host, and not about one job, and must bear to be run again.
type Script struct {
	Name        string   `json:"name"`                  // [a-z0-9][a-z0-9._-]*, at most 63
	Interpreter string   `json:"interpreter,omitempty"` // given the script as a file; /bin/sh if empty
	Timeout     Duration `json:"timeout,omitempty"`     // of one run; 5m if 0
	Script      string   `json:"script"`
}

// DefaultScriptTimeout is how long a script may run that does not say.
const DefaultScriptTimeout = Duration(5 * time.Minute)

// Bounds on scripts: each is part of the definition of each job that names it.
const (
	maxPreset     = 64 << 10 // bytes of one script
	maxScriptUses = 16       // scripts that one job names
)

// Limit returns how long a run of the script may take.
func (s *Script) Limit() time.Duration { return or(s.Timeout, DefaultScriptTimeout).Std() }

// script checks one script; at is its path with a dot.
func (c *checker) script(at string, s *Script) {
	c.name(at+"name", s.Name)
	if s.Interpreter != "" && !path.IsAbs(s.Interpreter) {
		c.fault(at+"interpreter", "as /bin/bash", "%q is not an absolute path", s.Interpreter)
	}
	c.length(at+"interpreter", s.Interpreter, maxText)
	if s.Script == "" {
		c.fault(at+"script", "", "must be given")
	}
	c.length(at+"script", s.Script, maxPreset)
}

// scripts checks what a job says of scripts by itself; at is "" or the path of the job with a dot.
func (c *checker) scripts(at string, j *Job) {
	switch {
	case len(j.Scripts) == 0:
		return
	case j.HTTP != nil || j.GRPC != nil:
		c.fault(at+"scripts", "leave it out", "scripts prepare a host for a command, and not for a call")
	case len(j.Scripts) > maxScriptUses:
		c.fault(at+"scripts", "", "%d scripts; at most %d", len(j.Scripts), maxScriptUses)
		return
	}
	for i, name := range j.Scripts {
		path := fmt.Sprintf("%sscripts[%d]", at, i)
		c.name(path, name)
		if slices.Contains(j.Scripts[:i], name) && name != "" {
			c.fault(path, "leave one out", "the script %s is named twice", name)
		}
	}
}

// scriptsKnown lists the scripts that the job names and the definition does not hold.
func (d *Definition) scriptsKnown(c *checker) {
	for i, name := range d.Job.Scripts {
		if !slices.ContainsFunc(d.Scripts, func(s Script) bool { return s.Name == name }) {
			c.fault(fmt.Sprintf("scripts[%d]", i), "define it under `scripts:`, in the same manifest or before",
				"there is no script %q", name)
		}
	}
}
