package agent

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"crony"
)

// process is a started attempt: the leader of a session and process group of its own, whose output goes into files.
type process struct {
	ongoing

	birth  birth
	child  *spawned // nil for a process of an earlier life
	cgroup *cgroup
	tree   tree
	script string // file to remove at the end; "" if there is none

	mu      sync.Mutex
	gone    bool            // the leader has ended
	ending  crony.EndedFact // why it was killed, if it was
	cleared <-chan struct{} // closed when a tree that was killed is gone, or does not go
	behind  int             // processes that the leader left behind when it ended by itself
	stuck   int             // processes that could not be killed
	memory  crony.Size      // the limit of memory that it has hit; 0 if it has not
	rlimits *crony.Rlimits  // that it was started with
	used    float64         // seconds of the CPU, by the leader
}

// birth is when a process began. With its pid it names the process for ever.
type birth struct {
	Boot  string `json:"boot"`  // the host's boot
	Ticks uint64 `json:"ticks"` // since then, in the kernel's clock ticks
}

// startProcess starts an attempt in a cgroup; its output files are there. The error says in plain words why it can't be started.
func (r *runner) startProcess(a *attempt, files []*output, in *cgroup) (*process, error) {
	p := &process{cgroup: in,
		ongoing: ongoing{run: a.run, job: a.job.Name, attempt: a.number, terms: termsOf(a.job), outputs: files}}
	if a.job.Shell != nil && a.job.Shell.Script != "" {
		p.script = scriptPath(r.dir, a.run, a.number, a.job.Shell.Interpreter)
	}
	a.agent = r.agent
	if err := p.start(r, a); err != nil {
		p.removeScript()
		return nil, fmt.Errorf("start the run: %w", err)
	}
	p.pid, p.first = p.child.pid, cmp.Or(a.first, p.began)
	ticks, _ := startTicks(p.pid) // 0 if it has ended already
	p.birth, p.rlimits = birth{Boot: r.boot, Ticks: ticks}, a.job.Shell.Rlimits
	p.tree = r.treeOf(p, p.pid)
	return p, nil
}

func (p *process) start(r *runner, a *attempt) error {
	cmd, err := newCommand(r.dir, p.script, a, &r.allow)
	if err != nil {
		return err
	}
	files := []int{cmd.stdin}
	defer func() { // the process has its own by then
		for _, fd := range append(files, cmd.more...) {
			closeFD(fd)
		}
	}()
	if cmd.rlimits, err = r.rlimitsOf(a.job.Shell); err != nil {
		return err
	}
	for _, o := range p.outputs {
		fd, err := o.open()
		if err != nil {
			return err
		}
		files = append(files, fd)
	}
	if err := p.give(cmd, files); err != nil {
		return err
	}
	p.began = r.now().UTC()
	if err := p.outputs[0].markBegun(files[1]); err != nil {
		return err
	}
	if !r.mayStart(a) {
		return errLeaseOver
	}
	p.child, err = cmd.start(append(files, cmd.more...), p.cgroup, r.children)
	return err
}

// give gives the user of the run its files, so that it can open them anew, as /dev/stdout.
func (p *process) give(cmd *command, files []int) error {
	if cmd.account.switches == nil {
		return nil
	}
	own := files[1:]
	switch {
	case p.outputs[0].none: // /dev/null is everybody's
		own = nil
		if cmd.input {
			own = files[:1]
		}
	case cmd.input:
		own = files
	}
	for _, fd := range own {
		if err := cmd.account.own(fd); err != nil {
			return fmt.Errorf("give user %s its files: %w", cmd.account.name, err)
		}
	}
	return nil
}

func termsOf(j *crony.Job) terms {
	return terms{Limit: j.OutputLimit(), Timeout: j.Timeout, Grace: crony.Duration(j.Grace()),
		Stop: j.OnDisconnect == crony.DisconnectStop, Hold: leased(j), Retry: j.Retry, Whole: j.RunTimeout}
}

// adoptProcess makes the process of a run that an earlier life of the agent started.
func (r *runner) adoptProcess(started *crony.Fact, rec *record) *process {
	number := started.Started.Attempt
	p := &process{ongoing: ongoing{run: started.Run, job: rec.jobName(), attempt: number, pid: started.Started.PID,
		began: started.At, first: rec.begun(started.At), terms: rec.terms,
		outputs: outputs(r.dir, started.Run, number, rec.terms.Limit)},
		birth: rec.birth, script: scriptPath(r.dir, started.Run, number, ""), cgroup: &cgroup{unheld: rec.held.Unheld},
		rlimits: rec.held.Rlimits}
	if p.birth.Boot != r.boot {
		p.birth.Ticks = 0 // whoever has its pid now is somebody else
	} else {
		p.cgroup.reopen(rec.held.Cgroup)
	}
	leader := 0
	if p.alive() {
		leader = p.pid
	}
	p.tree = r.treeOf(p, leader)
	return p
}

func (p *process) removeScript() {
	if p.script != "" {
		os.Remove(p.script) //nolint:errcheck // the next start of the agent removes what is left
	}
}

// wait waits for a child of this agent, and ends what it has left behind. The files are not waited for: who has them open is
// not asked.
func (p *process) wait() crony.ExitedFact {
	fact, known := p.child.wait()
	p.used = fact.CPUSeconds
	if !known {
		fact = crony.ExitedFact{}
	}
	p.leave(&fact)
	return fact
}

// foreignPoll is how often a process that is not a child is looked at.
const foreignPoll = 250 * time.Millisecond

// waitForeign waits for a process of an earlier life of the agent, and ends what it has left behind. Only what its cgroup has
// used is known.
func (p *process) waitForeign() (fact crony.ExitedFact) {
	for p.alive() {
		time.Sleep(foreignPoll)
	}
	p.leave(&fact)
	return fact
}

func (p *process) alive() bool {
	ticks, err := startTicks(p.pid)
	return err == nil && p.birth.Ticks != 0 && ticks == p.birth.Ticks
}

// leave notes that the leader has ended. A run is over when its tree is: if it was killed, all of it is gone then, and if not,
// what the leader has left behind is ended.
func (p *process) leave(fact *crony.ExitedFact) {
	p.mu.Lock()
	p.gone = true
	cleared := p.cleared
	p.mu.Unlock()
	p.removeScript()
	if cleared != nil {
		<-cleared
	} else {
		p.behind, p.stuck = endTree(p.tree, p.terms.Grace.Std())
	}
	p.measure(fact)
}

// measure writes down what the whole tree has used, if that is known.
func (p *process) measure(fact *crony.ExitedFact) {
	if p.cgroup.path != "" {
		p.cgroup.measure(fact)
	}
	if fact.OOM {
		p.memory = p.cgroup.memoryLimit()
	}
	if p.memory > 0 {
		p.behind = 0 // the kernel was killing them
	}
}

// kill ends the process and its tree: TERM, then after the grace KILL for what is left. The first reason counts, and none
// does once the leader has ended by itself.
func (p *process) kill(state crony.RunState, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.ending.State != "" || p.child == nil && !p.alive() {
		return
	}
	p.ending = crony.EndedFact{State: state, Reason: reason}
	cleared := make(chan struct{})
	p.cleared = cleared
	go func() {
		defer close(cleared)
		_, p.stuck = endTree(p.tree, p.terms.Grace.Std())
	}()
}

// verdict says how the run ended.
func (p *process) verdict(exit *crony.ExitedFact) (crony.RunState, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ending.State != "":
		return p.ending.State, p.ending.Reason
	case exit.OOM && exit.Signal != "" && p.memory > 0:
		return crony.Failed, "it wanted more memory than its limit of " + p.memory.String()
	case exit.OOM && exit.Signal != "":
		return crony.Failed, "it was killed for want of memory"
	case exit.Signal != "":
		return crony.Failed, "ended by " + exit.Signal + p.beyond(exit.Signal)
	case exit.ExitCode == nil:
		return crony.Lost, "its agent was restarted while it ran: how it ended can't be known"
	case *exit.ExitCode != 0:
		return crony.Failed, "exit code " + strconv.Itoa(*exit.ExitCode) + p.beyondBelow(*exit.ExitCode)
	}
	return crony.Succeeded, ""
}

// remarks returns what is to be said of the run beside how it ended.
func (p *process) remarks() (list []string) {
	switch {
	case p.behind == 1:
		list = append(list, "a process that it left behind was ended")
	case p.behind > 1:
		list = append(list, fmt.Sprintf("%d processes that it left behind were ended", p.behind))
	}
	if p.stuck > 0 {
		list = append(list, fmt.Sprintf("%d of its processes could not be killed, and may go on", p.stuck))
	}
	if len(p.cgroup.unheld) > 0 {
		list = append(list, "it was not held to its limits of "+strings.Join(p.cgroup.unheld, ", ")+
			", "+whyUnheld)
	}
	return append(list, p.ongoing.remarks()...)
}
