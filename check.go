package crony

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

const maxNameLength = 63

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	envForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	userForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,255}\$?$`)
	umaskForm = regexp.MustCompile(`^0?[0-7]{1,3}$`)
)

// Bounds on what a definition may hold: it is kept in memory on every server and on its agent.
const (
	maxText   = 4 << 10   // of a title, note, owner or label
	maxScript = 256 << 10 // of a command, script, argv, env or stdin
	maxEach   = 256       // schedule entries, labels
)

// job checks one job; at is "" or the path of the job with a dot.
func (c *checker) job(at string, j *Job) {
	c.name(at+"name", j.Name)
	if j.Group != "" {
		c.name(at+"group", j.Group)
	}
	for _, t := range []struct{ key, text string }{{"title", j.Title}, {"owner", j.Owner}, {"note", j.Note}} {
		c.length(at+t.key, t.text, maxText)
	}
	if len(j.Labels) > maxEach {
		c.fault(at+"labels", "", "%d labels; at most %d", len(j.Labels), maxEach)
	}
	for key, value := range j.Labels {
		if !nameForm.MatchString(strings.ToLower(key)) {
			c.fault(at+"labels."+key, "letters, digits and . _ -", "%q cannot be a label's name", key)
		}
		c.length(at+"labels."+key, value, maxText)
	}
	c.schedules(at, j)
	c.uses(at, j)
	c.scripts(at, j)
	c.misfire(at+"misfire.", j.Misfire)
	c.overlap(at, j)
	c.retention(at+"retention.", j.Retention)
	c.retry(at, j)
	c.placement(at+"placement.", j)
	c.work(at, j)
	c.jobLater(at, j)
}

// IsName says whether text can be the name of a job, of a group or of a calendar.
func IsName(text string) bool { return len(text) <= maxNameLength && nameForm.MatchString(text) }

func (c *checker) name(path, name string) {
	switch {
	case name == "":
		c.fault(path, "", "must be given")
	case len(name) > maxNameLength:
		c.fault(path, "", "has %d characters; at most %d", len(name), maxNameLength)
	case !nameForm.MatchString(name):
		c.fault(path, "small letters, digits and . _ -, with a letter or digit first", "%q cannot be a name", name)
	}
}

func (c *checker) length(path, text string, most int) {
	if len(text) > most {
		c.fault(path, "", "has %d bytes; at most %d", len(text), most)
	}
	if strings.ContainsRune(text, 0) {
		c.fault(path, "", "holds a zero byte")
	}
}

func (c *checker) misfire(at string, m *Misfire) {
	if m != nil && (m.Limit < 0 || m.Limit > MaxMisfireLimit) {
		c.fault(at+"limit", fmt.Sprintf("1 to %d; %d if it is left out", MaxMisfireLimit, DefaultMisfireLimit),
			"%d is out of range", m.Limit)
	}
	if m != nil && m.Deadline < 0 {
		c.fault(at+"deadline", "as 6h", "%s is less than nothing", m.Deadline)
	}
}

func (c *checker) retention(at string, r *Retention) {
	if r == nil {
		return
	}
	if r.Age != 0 && r.Age < MinRetention {
		c.fault(at+"age", fmt.Sprintf("at least %s, as 30d", MinRetention), "%s is too short", r.Age)
	}
	if r.Runs < 0 || r.Runs > MaxRetainRuns {
		c.fault(at+"runs", fmt.Sprintf("1 to %d; left out, there is no bound", MaxRetainRuns), "%d is out of range", r.Runs)
	}
}

func (c *checker) work(at string, j *Job) {
	given := 0
	for _, is := range []bool{j.Shell != nil, j.HTTP != nil, j.GRPC != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		c.fault(strings.TrimSuffix(at, "."), "give one of shell, http and grpc", "%d of shell, http and grpc are given", given)
	}
	if j.Shell != nil {
		c.shell(at+"shell.", j.Shell)
	}
	if j.HTTP != nil {
		c.http(at+"http.", j.HTTP)
	}
	if j.GRPC != nil {
		c.grpc(at+"grpc.", j.GRPC)
	}
}

func (c *checker) shell(at string, s *Shell) {
	given := 0
	for _, is := range []bool{s.Command != "", s.Script != "", len(s.Argv) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		c.fault(strings.TrimSuffix(at, "."), "give one of command, script and argv", "%d of command, script and argv are given", given)
	}
	if len(s.Argv) > 0 && s.Interpreter != "" {
		c.fault(at+"interpreter", "leave it out, or use command or script", "argv is run without an interpreter")
	}
	if len(s.Argv) > 0 && s.Argv[0] == "" {
		c.fault(at+"argv[0]", "", "must name a program")
	}
	if s.Interpreter != "" && !path.IsAbs(s.Interpreter) {
		c.fault(at+"interpreter", "as /bin/bash", "%q is not an absolute path", s.Interpreter)
	}
	if s.Cwd != "" && !path.IsAbs(s.Cwd) {
		c.fault(at+"cwd", "as /opt/report", "%q is not an absolute path", s.Cwd)
	}
	c.length(at+"command", s.Command, maxScript)
	c.length(at+"script", s.Script, maxScript)
	c.length(at+"stdin", s.Stdin, maxScript)
	c.length(at+"argv", strings.Join(s.Argv, " "), maxScript)
	c.length(at+"env", strings.Join(s.Environ(), " "), maxScript)
	for name := range s.Env {
		switch {
		case !envForm.MatchString(name):
			c.fault(at+"env."+name, "letters, digits and _", "%q cannot be a variable's name", name)
		case strings.HasPrefix(name, "CRONY_"):
			c.fault(at+"env."+name, "choose another name", "names that begin with CRONY_ are crony's own")
		}
	}
	if s.User != "" && !userForm.MatchString(s.User) {
		c.fault(at+"user", "a name as in passwd(5), or a number", "%q cannot be a user", s.User)
	}
	if s.Umask != "" && !umaskForm.MatchString(s.Umask) {
		c.fault(at+"umask", `octal, in quotes, as "0027"`, "%q is no umask", s.Umask)
	}
	c.limits(at+"limits.", s.Limits)
	c.rlimits(at+"rlimits.", s.Rlimits)
	c.shellLater(at, s)
}

// Bounds of what limits may be. Below the least nothing can run, or the kernel takes no limit.
const (
	minMemory = MiB
	minCPU    = 0.01
	maxCPU    = 1 << 12
	maxPids   = 1 << 22 // the kernel's own bound on pids
)

func (c *checker) limits(at string, l *Limits) {
	if l == nil {
		return
	}
	if l.Memory != 0 && l.Memory < minMemory {
		c.fault(at+"memory", "at least "+minMemory.String()+"; left out, there is no limit", "%s is too little", l.Memory)
	}
	if l.CPU != 0 && !(l.CPU >= minCPU && l.CPU <= maxCPU) {
		c.fault(at+"cpu", fmt.Sprintf("cores, %v to %d, as 1.5; left out, there is no limit", minCPU, maxCPU),
			"%v is out of range", l.CPU)
	}
	if l.Pids < 0 || l.Pids > maxPids {
		c.fault(at+"pids", fmt.Sprintf("1 to %d; left out, there is no limit", maxPids), "%d is out of range", l.Pids)
	}
}

// jobLater and shellLater list what crony does not serve yet. What is accepted here is done.
func (c *checker) jobLater(at string, j *Job) {
	c.later(at+"notify", j.Notify != nil)
}

func (c *checker) shellLater(at string, s *Shell) {
	c.later(at+"secrets", len(s.Secrets) > 0)
}
