package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) agentDrainCmd() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain AGENT",
		Short: "Move an agent's jobs away, and give it no more",
		Long: `Drain cordons an agent and has its jobs go elsewhere, each as its runs there end. Jobs that may run nowhere else
stay, and go on running. It lasts until "crony agent uncordon".

With --wait it says which jobs are yet to go, and which stay and why, until no more go and the runs that go on then have ended.
It does not wait for what jobs that stay begin later: pause those. To be interrupted ends the waiting, and not the draining.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			a, err := c.changeAgent(ctx, args[0], crony.AgentChange{
				Cordon: &crony.CordonChange{On: true, Drain: true, Reason: reason}})
			if err != nil || !wait {
				return c.acted(args[0], "draining", err)
			}
			return c.agentDrained(ctx, &a)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few `WORDS`, for those who look at the agent later")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done, and say what is left meanwhile")
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

// agentDrained waits until an agent is drained.
func (c *cli) agentDrained(ctx context.Context, a *crony.AgentStatus) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	d := draining{c: c, client: client, id: a.ID, name: clean(a.Name), still: map[string]int{}}
	for heard := c.now(); ; {
		done, err := d.look(ctx)
		switch {
		case done:
			return c.acted(a.Name, "drained", nil)
		case err == nil:
			heard = c.now()
		case ctx.Err() != nil:
			return d.interrupted(err)
		case crony.CodeOf(err) == crony.NotFound:
			return crony.Errorf(crony.Conflict, "somebody has removed the agent %s", d.name)
		case crony.CodeOf(err) != crony.Unavailable || c.now().Sub(heard) >= c.patience: // else a server is restarted, say
			return err
		}
		if err := pause(ctx, drainPolls*c.poll); err != nil {
			return d.interrupted(err)
		}
	}
}

const (
	// drainPolls is how many times rarer than what is short an agent is looked at: every second.
	drainPolls = 4
	// stillLooks is how many looks one after the other must show that a job does not go, for it to count as one that stays. The
	// leader moves a job soon after its last run has ended, but not at once.
	stillLooks = 10
	// namesShown is how many jobs, or runs, are named where there may be many.
	namesShown = 20
)

// draining is what is seen, and was said, of an agent that is drained.
type draining struct {
	c        *cli
	client   *sdk.Client
	id, name string
	still    map[string]int       // by job: how many looks it has not gone at, though no run of it kept it
	waits    map[crony.RunID]bool // the runs that went on when no more jobs were to go; nil: some are
	said     string               // what is left, as it was said last
	stays    string               // likewise which jobs stay
}

// look says what has changed, and whether the agent is drained.
func (d *draining) look(ctx context.Context) (bool, error) {
	a, err := d.client.Agent(ctx, d.id)
	switch {
	case err != nil:
		return false, err
	case a.Cordon == nil || !a.Cordon.Drain:
		return false, crony.Errorf(crony.Conflict, "somebody has ended the draining of %s", d.name)
	}
	runs, err := d.runs(ctx, &a)
	if err != nil {
		return false, err
	}
	going, stays, err := d.jobs(ctx, &a, runs)
	if err != nil {
		return false, err
	}
	d.say(&d.stays, stays.String())
	if len(going) > 0 {
		d.waits = nil
		d.say(&d.said, d.away(&a, "yet to go elsewhere: "+some(going)))
		return false, nil
	}
	left := d.left(runs)
	if len(left) == 0 {
		return true, nil
	}
	d.say(&d.said, d.away(&a, "waiting for "+some(left)))
	return false, nil
}

// say prints what is new in a text of several lines, if anything is.
func (d *draining) say(said *string, text string) {
	before := strings.Split(*said, "\n")
	*said = text
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && !slices.Contains(before, line) {
			fmt.Fprintf(d.c.stderr, "crony: %s: %s\n", d.name, clean(line))
		}
	}
}

func (d *draining) away(a *crony.AgentStatus, text string) string {
	if !a.Up {
		text += "; the agent is not connected"
	}
	return text
}

func (d *draining) interrupted(err error) error {
	fmt.Fprintf(d.c.stderr, "crony: the draining of %s goes on; `crony agent uncordon %[1]s` ends it\n", d.name)
	return err
}

// runs returns the runs that go on there, by their ids. One that begins another attempt between two questions waited at the
// first, and one that begins to wait does so for longer than the last question takes.
func (d *draining) runs(ctx context.Context, a *crony.AgentStatus) ([]crony.Run, error) {
	if a.Running == 0 {
		return nil, nil
	}
	var list []crony.Run
	for _, state := range []crony.RunState{crony.Waiting, crony.Running, crony.Waiting} {
		for run, err := range runsOf(ctx, d.client, crony.RunQuery{Agent: d.id, State: state}) {
			if err != nil {
				return nil, err
			}
			list = append(list, run)
		}
	}
	slices.SortFunc(list, func(a, b crony.Run) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.CompactFunc(list, func(a, b crony.Run) bool { return a.ID == b.ID }), nil
}

// jobs returns those that are yet to go, with what keeps each, and those that stay.
func (d *draining) jobs(ctx context.Context, a *crony.AgentStatus, runs []crony.Run) (going []string, stays staying, err error) {
	if a.Jobs == 0 {
		return nil, nil, nil
	}
	agents, err := d.client.ListAgents(ctx)
	if err != nil {
		return nil, nil, err
	}
	keeps := map[string]int{}
	for i := range runs {
		keeps[runs[i].Job]++
	}
	for j, err := range jobsOf(ctx, d.client, crony.JobQuery{Agent: d.id}) {
		if err != nil {
			return nil, nil, err
		}
		name, terms := j.Job.Name, j.Job.Terms()
		if why := rooted(&j.Job); why != "" && terms.Match(a) {
			stays.add(why, name)
			continue
		}
		why := ""
		if terms.Match(a) { // else it goes, whether or not another takes it
			why = terms.Shortage(agents)
		}
		if why == "" && keeps[name] > 0 {
			d.still[name] = 0
			going = append(going, name+" ("+count(keeps[name], "run")+" going on)")
			continue
		}
		if d.still[name]++; d.still[name] >= stillLooks {
			stays.add(cmp.Or(why, "it does not go, though no run keeps it: do the servers say that shell jobs stay?"), name)
			continue
		}
		going = append(going, name)
	}
	return going, stays, nil
}

// rooted says why a job that an agent has may run nowhere else; "" if it may.
func rooted(j *crony.Job) string {
	switch {
	case j.Mode() == crony.PlaceEach:
		return "every agent that it means runs it"
	case j.Mode() != crony.PlaceOne || j.Movable(true): // if it says nothing itself, the servers' default is not known here
		return ""
	case j.Placement.Agent != "":
		return "it is pinned to this agent"
	}
	return "its failover is false"
}

// left names the runs that are waited for before those jobs count as drained that stay.
func (d *draining) left(runs []crony.Run) []string {
	if d.waits == nil {
		d.waits = map[crony.RunID]bool{}
		for i := range runs {
			d.waits[runs[i].ID] = true
		}
	}
	var names []string
	for i := range runs {
		if run := &runs[i]; d.waits[run.ID] {
			names = append(names, "run "+string(run.ID)+" of "+run.Job)
		}
	}
	return names
}

// staying is the jobs that stay, with the same reason together.
type staying []struct {
	why  string
	jobs []string
}

func (s *staying) add(why, job string) {
	for i := range *s {
		if (*s)[i].why == why {
			(*s)[i].jobs = append((*s)[i].jobs, job)
			return
		}
	}
	*s = append(*s, struct {
		why  string
		jobs []string
	}{why, []string{job}})
}

// String has a line for each reason.
func (s *staying) String() string {
	var lines []string
	for _, g := range *s {
		verb := " stay: "
		if len(g.jobs) == 1 {
			verb = " stays: "
		}
		lines = append(lines, count(len(g.jobs), "job")+verb+some(g.jobs)+" ("+g.why+")")
	}
	return strings.Join(lines, "\n")
}

// some joins names, the first of them if they are many.
func some(names []string) string {
	if more := len(names) - namesShown; more > 0 {
		return strings.Join(names[:namesShown], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
